"""What one sees while a sweep runs: progress, the front so far, its hypervolume. On stderr."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.front import ParetoFront, load_front, shown
from search.optimizer import Optimizer
from search.run_store import RunFolder
from search.sweep_file import Sweep
from search.tracking import Tracking

MAX_ROWS = 12


class Live:
    """A table that redraws itself on a terminal; one line per trial elsewhere (logs, CI)."""

    def __init__(
        self, sweep: Sweep, run: RunFolder, optimizer: Optimizer, tracking: Tracking
    ) -> None:
        self._sweep, self._run = sweep, run
        self._optimizer, self._tracking = optimizer, tracking
        self._console = Console(file=sys.stderr)
        self._live = RichLive(console=self._console, refresh_per_second=2, transient=True)
        self._began = time.monotonic()
        self._running: dict[int, float] = {}
        self._doing = "starting"
        self._done = self._done_before = optimizer.told()
        self._failed = list(optimizer.states().values()).count("FAIL")
        self._front: ParetoFront | None = None

    def __enter__(self) -> Live:
        self._front = load_front(self._run.name, self._run.out)
        if self._console.is_terminal:
            self._live.start()
        self.say(f"{self._sweep.name}: {self._sweep.trials} trials, {self._done} done")
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

    def failed(self, trial_id: int, reason: str) -> None:
        self._failed += 1
        self._console.print(f"trial {trial_id} failed: {reason}", markup=False, highlight=False)

    def ended(self, trial_id: int) -> None:
        """A trial finished or failed: the front and its hypervolume move."""
        seconds = time.monotonic() - self._running.pop(trial_id, time.monotonic())
        self._done += 1
        self._front = load_front(self._run.name, self._run.out)
        self._tracking.hypervolume(self._front.hypervolume, self._done)
        if not self._console.is_terminal:
            print(self._line(trial_id, seconds), file=sys.stderr, flush=True)
        self.refresh()

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
            ProgressBar(total=self._sweep.trials, completed=self._done, width=30),
            f"{self._done}/{self._sweep.trials} trials, {self._failed} failed",
            f"{self._elapsed():.0f} s{self._left()}",
        )
        return Group(head, Text(f"running {running}" if running else self._doing), self._table())

    def _table(self) -> Text:
        if self._front is None or not self._front.points:
            return Text("no finished trial yet")
        lines = self._front.table().splitlines()
        if len(lines) > MAX_ROWS + 2:
            lines = [*lines[: MAX_ROWS + 1], "  ...", lines[-1]]
        return Text("\n".join(lines))

    def _line(self, trial_id: int, seconds: float) -> str:
        assert self._front is not None
        everyone = {t.trial_id: t for t in (*self._front.points, *self._front.others)}
        text = f"[{self._elapsed():5.0f} s] {self._done}/{self._sweep.trials} trial {trial_id}"
        if trial_id in everyone:
            metrics = everyone[trial_id].result.metrics
            text += "".join(f"  {o.name} {shown(metrics[o.name])}" for o in self._front.objectives)
            text += f"  sparsity {metrics['sparsity']:.1%}"
        best = len(self._front.points)
        return f"{text}  ({seconds:.0f} s)  front {best}, hypervolume {self._front.hypervolume:.4f}"

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _left(self) -> str:
        done = self._done - self._done_before
        if done == 0:
            return ""
        left = self._elapsed() / done * (self._sweep.trials - self._done)
        return f", about {left:.0f} s left"
