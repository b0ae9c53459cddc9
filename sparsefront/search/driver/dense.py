"""Measures the dense model while the first trials run."""

from __future__ import annotations

import sys
from typing import Any

from sparsefront.errors import one_line_with_type
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import check_finite
from sparsefront.search.driver.live import Live
from sparsefront.search.runs.dense_file import write_dense
from sparsefront.search.runs.front import format_value
from sparsefront.search.runs.run_folder import RunFolder


class DenseEvaluation:
    """Started as a Ray task of a trial's size, where the folder does not have it yet. A sweep never
    ends for it: why it could not be measured is said once.
    """

    def __init__(self, sweep: Sweep, run: RunFolder, live: Live) -> None:
        self._sweep, self._run, self._live = sweep, run, live
        self._task: Any = None

    def start(self) -> None:
        import ray

        from sparsefront.search.driver.gpu_memory import on_own_gpu
        from sparsefront.search.trial.dense import dense_metrics

        sweep = self._sweep
        if not self._run.dense_file.is_file():
            sized = ray.remote(num_cpus=sweep.cpus_per_trial, num_gpus=sweep.gpus_per_trial)
            self._task = sized(on_own_gpu(dense_metrics)).remote(sweep.trial)

    def look(self, wait_s: float | None = 0.0) -> bool:
        """Writes the result where it has come; waits so long, None: until it is there. True where
        it has been written now.
        """
        import ray

        if self._task is None:
            return False
        done, _ = ray.wait([self._task], timeout=wait_s)
        if not done:
            return False
        task, self._task = self._task, None
        try:
            metrics = ray.get(task)
            check_finite(metrics)
        except Exception as error:
            cause = getattr(error, "cause", None) or error  # Ray wraps the worker's own
            reason = one_line_with_type(cause, 300)
            print(f"the dense model could not be measured: {reason}", file=sys.stderr, flush=True)
            return False
        write_dense(self._run, metrics)
        shown = "  ".join(
            f"{name} {format_value(metrics[name])}"
            for name in self._sweep.objectives
            if name in metrics
        )
        self._live.say(f"dense model: {shown}")
        return True
