"""The finished trials of a running sweep, kept small: what the driver needs to draw the front."""

from __future__ import annotations

from dataclasses import replace

from search.front import ParetoFront, pareto_front
from search.runs.run_store import RunFolder, StoredTrial, read_trial
from search.sweep_file import Sweep
from search.trials.spec import TrialResult


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
        self._trials[trial_id] = replace(
            whole, spec=self._sweep.trial, asked=self._sweep.trial, result=small
        )
        return whole

    def results(self) -> list[TrialResult]:
        """By trial id, without per-layer and per-class values."""
        return [self._trials[i].result for i in sorted(self._trials)]

    def front(self) -> ParetoFront:
        trials = [self._trials[i] for i in sorted(self._trials)]
        return pareto_front(self._sweep, self._run.name, trials)
