"""Ray Tune's scheduler for several objectives: at each rung it stops what is not among the best."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sparsefront.search.config.halving import Halving
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd
from sparsefront.search.optimizer.halving import RungRecord, losses_of
from sparsefront.search.runs.run_folder import RunFolder, has_ended
from sparsefront.search.runs.trial_writer import write_end
from sparsefront.search.trial.checkpoint import (
    read_promoted,
    remove_checkpoint,
    results_so_far,
    write_promoted,
)


class HalvingScheduler(FIFOScheduler):
    """Multi-objective ASHA (halving.py). Whoever is stopped is so on disk before Ray acts;
    `earlier` are the results of earlier trials at their rungs, by trial id, as a resumed sweep
    finds them.
    """

    def __init__(
        self,
        sweep: Sweep,
        halving: Halving,
        run: RunFolder,
        earlier: dict[int, list[IntermediateResult]],
    ) -> None:
        super().__init__()
        self._sweep, self._run, self._halving = sweep, run, halving
        self._records = [RungRecord(halving) for _ in halving.rungs]
        for trial_id, seen in earlier.items():
            decided = self._decided(trial_id, seen)
            for result in seen[:decided]:
                rung = rung_of(halving, result)
                if rung is not None:  # results that were taken over may have other rungs
                    self._records[rung].restore(trial_id, self._losses(result))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = int(trial.config["trial_id"])
        folder = self._run.trial_dir(number)
        self._run.pull_trial(number)
        results = results_so_far(folder)
        rung = rung_of(self._halving, results[-1])
        assert rung is not None, results[-1]
        if self._records[rung].goes_on(number, self._losses(results[-1])):
            self._run.push(write_promoted(folder, len(results)))
            return str(TrialScheduler.CONTINUE)
        reason = (
            f"rung {rung + 1} of {len(self._records)}: not among the best 1 in "
            f"{self._halving.reduction:g} of {len(self._records[rung].seen)} trials"
        )
        end = TrialEnd.stopped(number, reason, results[-1]["metrics"], results)
        write_end(self._run, end)
        remove_checkpoint(folder)
        return str(TrialScheduler.STOP)

    def _decided(self, trial_id: int, results: list[IntermediateResult]) -> int:
        """At how many rungs a driver had judged it: all of a trial that ended; of one under way
        those with a later rung, and the last one where it is written that it went on.
        """
        folder = self._run.trial_dir(trial_id)
        if has_ended(folder):
            return len(results)
        return max(len(results) - 1, read_promoted(folder))

    def _losses(self, result: IntermediateResult) -> list[float]:
        known = self._sweep.known_objectives()
        directions = {name: known[name].direction for name in self._sweep.objectives}
        return losses_of(result["metrics"], directions)


def rung_of(halving: Halving, result: IntermediateResult) -> int | None:
    """Which of the rungs a result was measured at; None: another sweep's."""
    rungs = [(rung.steps, rung.frames) for rung in halving.rungs]
    own = (result["steps"], result["frames"])
    return rungs.index(own) if own in rungs else None
