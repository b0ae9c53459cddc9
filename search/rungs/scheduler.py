"""Ray Tune's scheduler for several objectives: at each rung it stops what is not among the best."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.objectives import OBJECTIVES
from search.rungs.halving import Halving, RungRecord, losses_of
from search.runs.run_store import (
    RunFolder,
    Stop,
    has_ended,
    read_json,
    write_json,
    write_stopped,
)
from search.sweep_file import Sweep
from search.trials.checkpoint import PROMOTED, looks_of, remove_checkpoint
from search.trials.spec import Look


class HalvingScheduler(FIFOScheduler):
    """Multi-objective ASHA (halving.py). Whoever is stopped is so on disk before Ray acts;
    `looks` are those of earlier trials, by trial id, as a resumed sweep finds them.
    """

    def __init__(
        self, sweep: Sweep, halving: Halving, run: RunFolder, looks: dict[int, list[Look]]
    ) -> None:
        super().__init__()
        self._sweep, self._run, self._halving = sweep, run, halving
        self._records = [RungRecord(halving) for _ in halving.rungs]
        for trial_id, seen in looks.items():
            decided = self._decided(trial_id, seen)
            for look in seen[:decided]:
                rung = rung_of(halving, look)
                if rung is not None:  # results that were taken over may have other rungs
                    self._records[rung].saw(trial_id, self._losses(look))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = int(trial.config["trial_id"])
        folder = self._run.trial_dir(number)
        self._run.pull_trial(number)
        looks = looks_of(folder)
        rung = rung_of(self._halving, looks[-1])
        assert rung is not None, looks[-1]
        if self._records[rung].goes_on(number, self._losses(looks[-1])):
            write_json(folder / PROMOTED, {"looks": len(looks)})
            self._run.push(folder / PROMOTED)
            return str(TrialScheduler.CONTINUE)
        reason = (
            f"rung {rung + 1} of {len(self._records)}: not among the best 1 in "
            f"{self._halving.reduction:g} of {len(self._records[rung].seen)} trials"
        )
        costs = dict(looks[-1]["metrics"])
        write_stopped(self._run, number, None, Stop(reason=reason, costs=costs, looks=looks))
        remove_checkpoint(folder)
        return str(TrialScheduler.STOP)

    def _decided(self, trial_id: int, looks: list[Look]) -> int:
        """How many of its looks a driver had judged: all of a trial that ended; of one under way
        those with a later look, and the last one where it is written that it went on.
        """
        folder = self._run.trial_dir(trial_id)
        if has_ended(folder):
            return len(looks)
        file = folder / PROMOTED
        promoted = int(read_json(file)["looks"]) if file.is_file() else 0
        return max(len(looks) - 1, promoted)

    def _losses(self, look: Look) -> list[float]:
        directions = {str(name): OBJECTIVES[name].direction for name in self._sweep.objectives}
        return losses_of(look["metrics"], directions)


def rung_of(halving: Halving, look: Look) -> int | None:
    """Which of the rungs a look was taken on; None: another sweep's."""
    looks = [(rung.steps, rung.frames) for rung in halving.rungs]
    own = (look["steps"], look["frames"])
    return looks.index(own) if own in looks else None
