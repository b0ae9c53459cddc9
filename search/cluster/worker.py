"""The Ray actor that takes trials from rung to rung, one after another."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from search.cluster.limits import Limits
from search.rungs.halving import Rung
from search.rungs.skipping import Costs, useless
from search.runs.run_folder import at_work
from search.runs.run_store import (
    RunFolder,
    Stop,
    has_ended,
    no_space,
    write_failure,
    write_json,
    write_stopped,
    write_trial,
)
from search.runs.shared_storage import StorageLost
from search.space import with_values
from search.sweep_file import Sweep
from search.trials.checkpoint import (
    CorruptCheckpoint,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from search.trials.pruned_model import least_costs
from search.trials.shared import Shared, prepare, trimmed
from search.trials.spec import TrialSpec
from search.trials.trial import TrialRun

Answer = dict[str, Any]
NO_SPACE = "no_space"
"""In an answer: what could not be written. The trial has not ended."""
NO_STORAGE = "no_storage"
"""In an answer: why shared storage could not be used. The trial has not ended."""


class TrialActor(Trainable):
    """One rung a step; what a rung measured is on disk before Ray hears of it, and a trial whose
    worker died goes on after the last rung that is there.
    """

    def setup(  # type: ignore[override]  # tune.with_parameters gives the rest
        self, config: dict[str, Any], shared: Shared, sweep: Sweep, run: RunFolder
    ) -> None:
        self._held = ExitStack()
        self.run_folder = self._held.enter_context(at_work(run))
        self.base, self.shared, self.sweep = shared, shared, sweep
        self.limits = Limits(self.run_folder, sweep.rung_timeout_s, sweep.max_memory_gb)
        self._held.callback(self.limits.close)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in this process: imports, data and dense weights stay."""
        self.number, self.values = int(new_config["trial_id"]), dict(new_config["values"])
        self.beaten_by: list[Costs] = new_config["beaten_by"]
        self.open: OpenTrial | None = None
        return True

    def step(self) -> Answer:
        with self.limits.over(self.number):
            return self._next()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: our own is in the trial's folder."""

    def cleanup(self) -> None:
        self._held.close()

    def _next(self) -> Answer:
        try:
            if self.open is None:
                take_up(self.run_folder, self.number)
            return self._looked()
        except StorageLost as lost:
            return {"done": True, NO_STORAGE: str(lost)}

    def _looked(self) -> Answer:
        folder = self.run_folder.trial_dir(self.number)
        if has_ended(folder):
            return {"done": True}  # by a worker that died before it could say so
        spec = None
        try:
            spec = with_values(self.sweep.trial, self.values)
            if self.open is not None:
                return self.open.next_look()
            if self._beyond_reach(spec):
                return {"done": True}
            self.open = OpenTrial(spec, self)
            return self.open.first_answer()
        except StorageLost:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if no_space(error):
                return {"done": True, NO_SPACE: str(getattr(error, "filename", None) or folder)}
            try:
                write_failure(self.run_folder, self.number, spec, reason)
            except OSError as full:
                if not no_space(full):
                    raise
                return {"done": True, NO_SPACE: str(folder)}
            if device_is_lost():
                raise  # the trial has ended; this process would fail all others
            return {"done": True}

    def _beyond_reach(self, spec: TrialSpec) -> bool:
        """Ends a trial that no mask of its allocation can save, before CrossPrune's rounds."""
        under_way = (self.run_folder.trial_dir(self.number) / "checkpoint.json").is_file()
        if spec.cross_prune is None or under_way:
            return False
        if not self.beaten_by and not self.sweep.constraints:
            return False
        self.shared = trimmed(prepare(spec, self.shared), self.base)
        costs = least_costs(spec, self.shared)
        reason = useless(costs, self.beaten_by, self.sweep.constraints, least=True)
        if reason is None:
            return False
        ended = Stop(reason=reason, costs=costs, looks=[], least=True)
        write_stopped(self.run_folder, self.number, spec, ended)
        return True


class OpenTrial:
    """A trial in this process, and the looks that were had at it, here or before."""

    def __init__(self, spec: TrialSpec, actor: TrialActor) -> None:
        self._sweep, self._beaten_by, self._number = actor.sweep, actor.beaten_by, actor.number
        self._run_folder = actor.run_folder
        self._folder: Path = actor.run_folder.trial_dir(actor.number)
        self._looks: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._trial = self._opened(spec, actor.shared)
        actor.shared = trimmed(self._trial.shared, actor.base)
        self._rungs = rungs_of(self._sweep, self._trial.full)

    def first_answer(self) -> Answer:
        """The last look again where there was one, as its report may have been lost."""
        if self._looks:
            return self._answer(self._looks[-1])
        if reason := useless(self._trial.costs(), self._beaten_by, self._sweep.constraints):
            ended = Stop(reason=reason, costs=self._trial.costs(), looks=[])
            write_stopped(self._run_folder, self._number, self._trial.spec, ended)
            return {"done": True}
        return self.next_look()

    def next_look(self) -> Answer:
        """Trains to the next rung and evaluates there; the last one finishes the trial."""
        rung = self._rungs[len(self._looks)]
        scores = self._trial.look(rung)
        metrics = self._trial.metrics(scores)
        spent = self._trial.timings.with_total()
        look = {
            "steps": rung.steps, "frames": rung.frames, "total_s": spent["total_s"],
            "cpu_s": spent["cpu_s"], "metrics": metrics,
        }  # fmt: skip
        self._looks.append(look)
        self._run_folder.pull_trial(self._number)
        if has_ended(self._folder):
            return {"done": True}  # elsewhere, while Ray could not reach this node
        if rung == self._trial.full:
            outcome = self._trial.outcome(scores, self._looks[:-1], self._notes)
            write_trial(self._run_folder, self._number, outcome)
            remove_checkpoint(self._folder)
            return {"done": True}
        write_json(self._folder / "spec.json", self._trial.spec.to_dict())
        write_checkpoint(self._folder, self._trial.checkpoint(), self._looks)
        self._run_folder.publish(self._number)
        return self._answer(look)

    def _answer(self, look: dict[str, Any]) -> Answer:
        values = {str(name): look["metrics"][name] for name in self._sweep.objectives}
        return {"done": False, **values}

    def _opened(self, spec: TrialSpec, shared: Shared) -> TrialRun:
        try:
            found = read_checkpoint(self._folder)
            if found is None:
                return TrialRun(spec, shared)
            checkpoint, self._looks = found
            return TrialRun(spec, shared, checkpoint=checkpoint)
        except CorruptCheckpoint as error:
            self._looks = []
            self._notes.append(f"checkpoint not readable, started again: {error}")
            remove_checkpoint(self._folder)
            return TrialRun(spec, shared)


def device_is_lost() -> bool:
    """Whether an error has left this process without its GPU: after an illegal access every later
    call fails, too.
    """
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def take_up(run: RunFolder, trial_id: int) -> None:
    """Brings here what other machines have of a trial, with the checkpoint to go on from."""
    if run.shared is not None:
        shutil.rmtree(run.trials, ignore_errors=True)
        run.pull_trial(trial_id, "checkpoint-*")


def rungs_of(sweep: Sweep, full: Rung) -> list[Rung]:
    """The sweep's rungs below this trial's full fidelity, then that."""
    below = [] if sweep.halving is None else sweep.halving.rungs
    return [*(r for r in below if r.steps <= full.steps and r != full), full]
