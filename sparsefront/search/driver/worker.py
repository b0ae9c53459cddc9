"""The Ray actor that takes trials from rung to rung, one after another."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from sparsefront.errors import is_disk_full, one_line_with_type
from sparsefront.files.atomic import write_json
from sparsefront.search.config.halving import Rung
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_files import CHECKPOINT, SPEC
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.driver.gpu_memory import (
    KEPT_BYTES,
    allocated,
    give_back,
    out_of_memory_line,
    take_what_ray_gave,
)
from sparsefront.search.driver.limits import Limits
from sparsefront.search.optimizer.skipping import Costs, skip_reason
from sparsefront.search.runs.run_folder import RunFolder, has_ended, working_copy
from sparsefront.search.runs.shared_storage import StorageLost
from sparsefront.search.runs.trial_writer import write_end, write_trial
from sparsefront.search.trial.checkpoint import (
    CorruptCheckpoint,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)
from sparsefront.search.trial.pruned_model import least_costs
from sparsefront.search.trial.run_trial import TrialRun
from sparsefront.search.trial.shared import Shared, forget_dense_models, prepare, trim

StepResult = dict[str, Any]
"""What Ray hears of a step: whether the trial is done, and its objectives at the rung."""
NO_SPACE = "no_space"
"""In a StepResult: what could not be written. The trial has not ended."""
NO_STORAGE = "no_storage"
"""In a StepResult: why shared storage could not be used. The trial has not ended."""


class TrialActor(Trainable):
    """One rung a step; what a rung measured is on disk before Ray hears of it, and a trial whose
    worker died goes on after the last rung that is there.
    """

    def setup(  # type: ignore[override]  # tune.with_parameters gives the rest
        self, config: dict[str, Any], shared: Shared, sweep: Sweep, run: RunFolder
    ) -> None:
        self._held = ExitStack()
        self.run_folder = self._held.enter_context(working_copy(run))
        self.base, self.shared, self.sweep = shared, shared, sweep
        self.limits = Limits(self.run_folder, sweep.rung_timeout_s, sweep.max_memory_gb)
        self._held.callback(self.limits.close)
        self.gpu_note = take_what_ray_gave()
        self.open: OpenTrial | None = None
        self._held_bytes = allocated()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in this process: imports, data and dense weights stay."""
        self.number, self.values = int(new_config["trial_id"]), dict(new_config["values"])
        self.beaten_by: list[Costs] = new_config["beaten_by"]
        self.open = None
        give_back()
        return True

    def step(self) -> StepResult:
        with self.limits.over(self.number):
            return self._next()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: our own is in the trial's folder."""

    def cleanup(self) -> None:
        self._held.close()

    def _next(self) -> StepResult:
        try:
            if self.open is None:
                fetch_trial(self.run_folder, self.number)
            return self._advance()
        except StorageLost as lost:
            return {"done": True, NO_STORAGE: str(lost)}

    def _advance(self) -> StepResult:
        """The next rung. Where memory runs out the trial ends, and the memory comes back once the
        error is gone, whose frames hold it.
        """
        try:
            return self._attempt()
        except OutOfGPUMemory as error:
            ended = self._failed(str(error), error.spec)
        self.open = None
        forget_dense_models()
        if (held := give_back()) > self._held_bytes + KEPT_BYTES:
            raise RuntimeError(f"{held} bytes of GPU memory are not given back")  # by its end
        return ended

    def _attempt(self) -> StepResult:
        folder = self.run_folder.trial_dir(self.number)
        if has_ended(folder):
            return {"done": True}  # by a worker that died before it could say so
        spec = None
        try:
            spec = with_values(self.sweep.trial, self.values)
            if self.open is not None:
                return self.open.next_rung()
            if self._skipped(spec):
                return {"done": True}
            self.open = OpenTrial(spec, self)
            return self.open.first_step()
        except StorageLost:
            raise
        except torch.OutOfMemoryError as error:
            line = out_of_memory_line(error, spec or self.sweep.trial)
            raise OutOfGPUMemory(line, spec) from None
        except Exception as error:
            if is_disk_full(error):
                return {"done": True, NO_SPACE: str(getattr(error, "filename", None) or folder)}
            ended = self._failed(one_line_with_type(error), spec)
            if NO_SPACE not in ended and device_is_lost():
                raise  # the trial has ended; this process would fail all others
            return ended

    def _failed(self, reason: str, spec: TrialSpec | None) -> StepResult:
        try:
            write_end(self.run_folder, TrialEnd.failed(self.number, reason), spec)
        except OSError as full:
            if not is_disk_full(full):
                raise
            return {"done": True, NO_SPACE: str(self.run_folder.trial_dir(self.number))}
        return {"done": True}

    def _skipped(self, spec: TrialSpec) -> bool:
        """Ends a trial that no mask of its allocation can save, before CrossPrune's rounds."""
        under_way = (self.run_folder.trial_dir(self.number) / CHECKPOINT).is_file()
        if spec.cross_prune is None or under_way:
            return False
        if not self.beaten_by and not self.sweep.constraints:
            return False
        self.shared = trim(prepare(spec, self.shared), self.base)
        costs = least_costs(spec, self.shared)
        reason = skip_reason(
            costs, self.beaten_by, self.sweep.constraints, costs_are_lower_bounds=True
        )
        if reason is None:
            return False
        end = TrialEnd.stopped(self.number, reason, costs, costs_are_lower_bounds=True)
        write_end(self.run_folder, end, spec)
        return True


class OutOfGPUMemory(Exception):
    """A trial that needs more than the GPU has; the text says what to try."""

    def __init__(self, line: str, spec: TrialSpec | None) -> None:
        super().__init__(line)
        self.spec = spec


class OpenTrial:
    """A trial in this process, and what it measured at its rungs, here or before."""

    def __init__(self, spec: TrialSpec, actor: TrialActor) -> None:
        self._sweep, self._beaten_by, self._number = actor.sweep, actor.beaten_by, actor.number
        self._run_folder = actor.run_folder
        self._folder: Path = actor.run_folder.trial_dir(actor.number)
        self._results: list[IntermediateResult] = []
        self._notes = [actor.gpu_note] if actor.gpu_note and spec.device == "auto" else []
        self._trial = self._opened(spec, actor.shared)
        actor.shared = trim(self._trial.shared, actor.base)
        self._rungs = rungs_of(self._sweep, self._trial.full)

    def first_step(self) -> StepResult:
        """The last rung again where there was one, as its report may have been lost."""
        if self._results:
            return self._step_result(self._results[-1])
        costs = self._trial.costs()
        if reason := skip_reason(costs, self._beaten_by, self._sweep.constraints):
            end = TrialEnd.stopped(self._number, reason, costs)
            write_end(self._run_folder, end, self._trial.spec)
            return {"done": True}
        return self.next_rung()

    def next_rung(self) -> StepResult:
        """Trains to the next rung and evaluates there; the last one finishes the trial."""
        rung = self._rungs[len(self._results)]
        scores = self._trial.train_and_evaluate(rung)
        metrics = self._trial.metrics(scores)
        spent = self._trial.timings.with_total()
        result: IntermediateResult = {
            "steps": rung.steps, "frames": rung.frames, "total_s": spent["total_s"],
            "cpu_s": spent["cpu_s"], "metrics": metrics,
        }  # fmt: skip
        self._results.append(result)
        self._run_folder.pull_trial(self._number)
        if has_ended(self._folder):
            return {"done": True}  # elsewhere, while Ray could not reach this node
        if rung == self._trial.full:
            outcome = self._trial.outcome(scores, self._results[:-1], self._notes)
            write_trial(self._run_folder, self._number, outcome)
            remove_checkpoint(self._folder)
            return {"done": True}
        write_json(self._folder / SPEC, self._trial.spec.to_dict())
        write_checkpoint(self._folder, self._trial.checkpoint(), self._results)
        self._run_folder.publish(self._number)
        return self._step_result(result)

    def _step_result(self, result: IntermediateResult) -> StepResult:
        values = {str(name): result["metrics"][name] for name in self._sweep.objectives}
        return {"done": False, **values}

    def _opened(self, spec: TrialSpec, shared: Shared) -> TrialRun:
        try:
            found = read_checkpoint(self._folder)
            if found is None:
                return TrialRun(spec, shared)
            checkpoint, self._results = found
            return TrialRun(spec, shared, checkpoint=checkpoint)
        except CorruptCheckpoint as error:
            self._results = []
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


def fetch_trial(run: RunFolder, trial_id: int) -> None:
    """Brings here what other machines have of a trial, with the checkpoint to go on from."""
    if run.shared is not None:
        shutil.rmtree(run.trials, ignore_errors=True)
        run.pull_trial(trial_id, "checkpoint-*")


def rungs_of(sweep: Sweep, full: Rung) -> list[Rung]:
    """The sweep's rungs below this trial's full fidelity, then that."""
    below = [] if sweep.halving is None else sweep.halving.rungs
    return [*(r for r in below if r.steps <= full.steps and r != full), full]
