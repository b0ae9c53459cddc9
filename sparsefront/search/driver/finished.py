"""The finished trials of a running sweep, kept small: what the driver needs to draw the front."""

from __future__ import annotations

from dataclasses import replace

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.runs.dense_file import read_dense
from sparsefront.search.runs.front import ParetoFront, pareto_front
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial, read_trial


class FinishedTrials:
    """Each is read once; the rest of what it measured stays on disk."""

    def __init__(self, sweep: Sweep, run: RunFolder) -> None:
        self._sweep, self._run = sweep, run
        self._trials: dict[int, StoredTrial] = {}
        for trial_id in run.finished():
            self.add(trial_id)

    def add(self, trial_id: int) -> StoredTrial:
        """Reads a trial that has just finished; returned whole."""
        whole = read_trial(self._run, trial_id)
        small = replace(
            whole.result, per_layer_sparsity={}, cost={}, losses=[], admm=[], tp_errors={},
            per_class={},
        )  # fmt: skip
        self._trials[trial_id] = replace(whole, result=small)
        return whole

    def results(self) -> list[TrialResult]:
        """By trial id, without per-layer and per-class values."""
        return [self._trials[i].result for i in sorted(self._trials)]

    def front(self) -> ParetoFront:
        trials = [self._trials[i] for i in sorted(self._trials)]
        sweep = self._sweep
        return pareto_front(
            self._run.name,
            trials,
            sweep.objectives,
            sweep.constraints,
            read_dense(self._run),
            sweep.metrics,
        )
