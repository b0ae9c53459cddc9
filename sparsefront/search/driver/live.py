"""What one sees while a sweep runs: progress, the front so far, its hypervolume. On stderr."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.driver.finished import FinishedTrials
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.runs.front import ParetoFront, format_value

MAX_ROWS = 12


class Live:
    """A table that redraws itself on a terminal; one line per trial elsewhere (logs, CI)."""

    def __init__(self, sweep: Sweep, optimizer: Optimizer, finished: FinishedTrials) -> None:
        self._sweep, self._finished = sweep, finished
        self._console = Console(file=sys.stderr)
        self._live = RichLive(console=self._console, refresh_per_second=2, transient=True)
        self._began = time.monotonic()
        self._running: dict[int, float] = {}
        self._doing = "starting"
        self.done = self._done_before = optimizer.num_finished()
        states = list(optimizer.states().values())
        self._failed, self._stopped = states.count("FAIL"), states.count("PRUNED")
        self._front = finished.front()

    def __enter__(self) -> Live:
        if self._console.is_terminal:
            self._live.start()
        self.say(f"{self._sweep.name}: {self._sweep.trials} trials, {self.done} done")
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, what: str) -> None:
        self._doing = what
        if self._console.is_terminal:
            self.refresh()
        else:
            print(f"[{self._elapsed():5.0f} s] {what}", file=sys.stderr, flush=True)

    def started(self, trial_id: int) -> None:
        self._running[trial_id] = time.monotonic()
        self._doing = "between two trials"
        self.refresh()

    def restarted(self, trial_id: int, reason: str) -> None:
        """A worker or node died; its trial starts again."""
        self._running.pop(trial_id, None)
        self._tell(f"trial {trial_id} goes on after its last rung, if it had one: {reason}")

    def ended(self, end: TrialEnd) -> ParetoFront:
        """A trial finished, was stopped or failed: the front as it is then."""
        seconds = time.monotonic() - self._running.pop(end.trial_id, time.monotonic())
        self.done += not end.is_free
        self._failed += end.status == "failed"
        self._stopped += end.status == "stopped"
        if end.status == "failed":
            self._tell(f"trial {end.trial_id} failed: {end.reason}")
        self._front = self._finished.front()
        if not self._console.is_terminal:
            self._tell(self._line(end, seconds))
        self.refresh()
        return self._front

    def _tell(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        if self._console.is_terminal:
            self._live.update(self._view())

    def _view(self) -> Group:
        running = ", ".join(
            f"{n} ({time.monotonic() - t:.0f} s)" for n, t in sorted(self._running.items())
        )
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self._sweep.name, style="bold"),
            ProgressBar(total=self._sweep.trials, completed=self.done, width=30),
            f"{self.done}/{self._sweep.trials} trials, {self._failed} failed, "
            f"{self._stopped} stopped early",
            f"{self._elapsed():.0f} s{self._left()}",
        )
        return Group(head, Text(f"running {running}" if running else self._doing), self._table())

    def _table(self) -> Text:
        if not self._front.points:
            return Text("no finished trial yet")
        lines = self._front.table().splitlines()
        if len(lines) > MAX_ROWS + 2:
            lines = [*lines[: MAX_ROWS + 1], "  ...", lines[-1]]
        return Text("\n".join(lines))

    def _line(self, end: TrialEnd, seconds: float) -> str:
        text = f"[{self._elapsed():5.0f} s] {self.done}/{self._sweep.trials} trial {end.trial_id}"
        if end.status == "stopped":
            text += f"  stopped: {end.reason}"
        elif end.result is not None:
            metrics = end.result.metrics
            text += "".join(
                f"  {o.name} {format_value(metrics[o.name])}" for o in self._front.objectives
            )
            text += f"  sparsity {metrics['sparsity']:.1%}"
        best = len(self._front.points)
        return f"{text}  ({seconds:.0f} s)  front {best}, hypervolume {self._front.hypervolume:.4f}"

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _left(self) -> str:
        done = self.done - self._done_before
        if done == 0:
            return ""
        left = self._elapsed() / done * (self._sweep.trials - self.done)
        return f", about {left:.0f} s left"
