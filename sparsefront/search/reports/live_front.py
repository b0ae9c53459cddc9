"""The front's picture, page and description while the sweep runs, at a bounded cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from sparsefront.errors import one_line
from sparsefront.search.config.space import Value
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports.sweep_files import FRONT_FILES, save_front_files
from sparsefront.search.reports.sweep_view import SweepView, baselines_of
from sparsefront.search.runs.front import ParetoFront
from sparsefront.search.runs.run_folder import RunFolder

EVERY_S = 30.0
SHARE = 0.02


class LiveFront:
    """Draws anew when the front has changed, no sooner than EVERY_S after the last time, and only
    while all drawing so far took less than SHARE of the driver's time.

    tell   what hears of new files (MLflow); its time counts
    clock  seconds on the clock; cpu: seconds computed by this process
    """

    def __init__(
        self,
        sweep: Sweep,
        run: RunFolder,
        tell: Callable[[ParetoFront], None],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._sweep, self._run, self._tell = sweep, run, tell
        self._clock, self._cpu = clock, cpu
        self._began = self._last = clock()
        self._drawn: tuple[int, ...] = ()
        self._values: dict[int, Mapping[str, Value]] = {}
        self._broken = False
        self.drawings = 0
        self.spent_s = self._cost_s = 0.0

    def ended(self, trial_id: int, values: Mapping[str, Value], front: ParetoFront) -> None:
        """A trial has ended, and this is the front now."""
        self._values[trial_id] = values
        points = tuple(p.trial_id for p in front.points)
        if not points or points == self._drawn or self._broken or not self._may_draw():
            return
        started, computed = self._clock(), self._cpu()
        try:
            save_front_files(self._view(front), self._run.path)
            self._run.push(*(self._run.path / name for name in FRONT_FILES))
            self._tell(front)
        except Exception as error:  # a sweep never ends for a picture
            self._broken = True
            reason = one_line(error, 200)
            print(f"the front is drawn at the end only: {reason}", file=sys.stderr)
        self._drawn, self._last = points, self._clock()
        self._cost_s = max(self._last - started, self._cpu() - computed)
        self.spent_s += self._cost_s
        self.drawings += 1

    def _may_draw(self) -> bool:
        now = self._clock()
        after = self.spent_s + self._cost_s
        return now - self._last >= EVERY_S and after <= SHARE * (now - self._began)

    def _view(self, front: ParetoFront) -> SweepView:
        known = {
            p.trial_id: self._values.get(p.trial_id, {}) for p in (*front.points, *front.others)
        }
        return SweepView(
            front=front, sweep=self._sweep, values=known,
            baselines=baselines_of(self._sweep, known, {}),
        )  # fmt: skip
