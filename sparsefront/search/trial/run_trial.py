"""One trial, in order: load, score, mask, cost, fine-tune, evaluate. A plain function.

The same call runs in a test and in `sparsefront trial`; a Ray worker takes it rung by rung. What
every trial of a sweep needs (dense weights, criterion statistics, cost profile) is prepared once,
in Shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from sparsefront.models.checkpoint import store
from sparsefront.pruning.cost import ModelCost
from sparsefront.pruning.device import forked_random
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.pruned_weights import PrunedWeights
from sparsefront.search.config.device import resolve_device
from sparsefront.search.config.halving import Rung
from sparsefront.search.config.metric_names import SKIPPED_TRAINING
from sparsefront.search.config.own_metrics import with_own_metrics
from sparsefront.search.config.trial_outcome import TrialOutcome
from sparsefront.search.config.trial_result import IntermediateResult, TrialResult, check_finite
from sparsefront.search.config.trial_spec import FineTuneSpec, TrialSpec
from sparsefront.search.evaluation.deployed import deployed
from sparsefront.search.evaluation.evaluate import Evaluation
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.training.fine_tune import FineTuner
from sparsefront.search.training.seeding import seed_everything
from sparsefront.search.trial import evaluation_frames
from sparsefront.search.trial.calibration import Calibration
from sparsefront.search.trial.checkpoint import Checkpoint
from sparsefront.search.trial.latency import Timed, latency_metrics, latency_record, time_passes
from sparsefront.search.trial.provenance import environment
from sparsefront.search.trial.pruned_model import deployed_cost, prune_model
from sparsefront.search.trial.shared import (
    Shared,
    cost_key,
    cost_profile,
    dense_model_on,
    prepare,
    trained_model,
    with_allocation,
)
from sparsefront.search.trial.timings import Timings

Report = Callable[[str, float], None]
"""Called with the stage (prepare, prune, fine_tune, evaluate) and the fraction of it done."""


def run_trial(
    spec: TrialSpec, shared: Shared | None = None, report: Report | None = None
) -> TrialOutcome:
    """Runs one trial here, from pruning to full fidelity. What `shared` lacks is computed.

    Raises InputError for inputs that do not fit, ArithmeticError for a loss or metric that is not
    finite.
    """
    run = TrialRun(spec, shared, report)
    return run.outcome(run.train_and_evaluate(run.full))


class TrialRun:
    """A trial that may be measured on the way: pruned at once, then trained rung by rung.

    requested  the spec as it was given
    spec       with its trade-off turned into an allocation
    shared     with all that this trial needed
    full       the last rung: all steps, all frames
    cost       of the pruned model; it stays, as pruned weights do
    """

    def __init__(
        self,
        spec: TrialSpec,
        shared: Shared | None = None,
        report: Report | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """With a checkpoint it goes on from there. CorruptCheckpoint where that cannot be."""
        self._report = report or _silent
        self.timings = Timings()
        with self.timings.stage("prepare_s"):
            self._report("prepare", 0.0)
            self.shared = prepare(spec, shared)
            if (frames := self.shared.frames.get(evaluation_frames.key_of(spec))) is not None:
                evaluation_frames.keep(frames, spec)
            self.requested = spec
            self.spec = spec = with_allocation(spec, self.shared)
        self.full = Rung(steps=spec.fine_tune.steps)
        seed_everything(spec.seed, spec.threads)
        self._device = resolve_device(spec.device)
        self._task = task = task_of(spec)
        task.forget_skipped()
        self._left_out = set() if checkpoint is None else checkpoint.left_out
        model = dense_model_on(spec, self.shared, self._device)
        self._groups = task.groups(model)
        self._calibration = Calibration(spec, self._device)
        with self.timings.stage("prune_s"):
            self._report("prune", 0.0)
            if checkpoint is None:
                pruned = prune_model(spec, self.shared, model, self._groups, self._device)
                self._mask, self._admm, self._notes = pruned.mask, pruned.admm, pruned.notes
                if spec.fine_tune.batch_norm != "train":  # else each step has its batch's own
                    self._calibration.update_norms(model)
            else:
                self._mask, self._admm = checkpoint.mask(), checkpoint.admm
                self._notes = checkpoint.notes
        self._tuner = FineTuner(
            model, self._mask, task, _fine_tuning(spec, self._mask), spec.seed,
            teacher=_teacher(spec, self.shared, self._device), device=self._device,
        )  # fmt: skip
        if checkpoint is not None:
            checkpoint.restore(self._tuner, self.timings)
        self._model = self._measured = model
        self._mask.check(model)
        smaller = deployed(model, self._mask.channels)
        self.cost = deployed_cost(spec, self.shared, self._mask, smaller, self._device)
        self._timed = time_passes(spec, model, smaller, self._device)

    def train_and_evaluate(self, rung: Rung) -> Evaluation:
        """Fine-tunes up to the rung's steps, measures the norms again and evaluates on its share of
        the frames. Training goes on from its own norms, as if nobody had looked.
        """
        self._task.forget_skipped()
        with self.timings.stage("fine_tune_s"):
            self._tuner.run_to(rung.steps, lambda done: self._report("fine_tune", done))
        self._left_out |= self._task.skipped()  # val may be the same scenes
        with self.timings.stage("norms_s"):
            self._measured = self._calibration.updated(self._tuner.measured())
        self._mask.check(self._measured)
        with self.timings.stage("evaluate_s"), forked_random(torch.device(self._device)):
            return self._task.evaluate(
                deployed(self._measured, self._mask.channels), rung.frames, self._device,
                progress=lambda done: self._report("evaluate", done),
            )  # fmt: skip

    def costs(self) -> dict[str, float]:
        """The metrics that are known before any training."""
        timed = latency_metrics(self._timed)
        return {**cost_metrics(self.cost), **timed, "sparsity": self._mask.sparsity()}

    def metrics(self, scores: Evaluation) -> dict[str, float]:
        """What objectives and constraints see. ArithmeticError where one of them is no number."""
        may_skip = self.spec.on_bad_sample == "skip"
        skipped = {SKIPPED_TRAINING: float(len(self._left_out))} if may_skip else {}
        known = {**scores.metrics, **self.costs(), **skipped}
        found = with_own_metrics(self.spec, known, scores.per_class)
        check_finite(found)
        return found

    def outcome(
        self,
        scores: Evaluation,
        intermediate_results: Sequence[IntermediateResult] = (),
        notes: Sequence[str] = (),
    ) -> TrialOutcome:
        """The trial's end, with what was measured at full fidelity and at the rungs before. The
        weights are those of the model that was measured last; no training may follow.
        """
        cost, mask = self.cost, self._mask
        self._tuner.free()
        result = TrialResult(
            metrics=self.metrics(scores),
            per_modality_sparsity=mask.sparsity_by_group(self._groups),
            per_modality_GMACs={k: v.macs / 1e9 for k, v in cost.per_modality.items()},
            per_class=dict(scores.per_class),
            tp_errors=dict(scores.tp_errors),
            per_layer_sparsity=mask.sparsity_by_layer(),
            cost={**cost.to_json(), "frames": self._task.cost_names(self.spec.cost_frames)},
            timings=self.timings.with_total(),
            losses=self._tuner.losses,
            admm=self._admm,
            latency=latency_record(self._timed),
            intermediate_results=list(intermediate_results),
            notes=[*self._notes, *self._calibration.notes, *_left_out(self.spec), *notes],
            environment=environment(self._device),
        )
        return TrialOutcome(
            result=result,
            spec=self.spec,
            requested=self.requested,
            weights=PrunedWeights(
                state=_on_cpu(self._measured.state_dict()),
                mask=_on_cpu(mask.by_weight),
                channels=mask.channels,
            ),
        )

    def checkpoint(self) -> Checkpoint:
        """All that going on elsewhere needs."""
        return Checkpoint.capture(
            self._tuner, self._mask, self._admm, self.timings, self._left_out, self._notes
        )


def measure(
    spec: TrialSpec,
    weights: PrunedWeights,
    report: Report | None = None,
) -> tuple[Evaluation, ModelCost]:
    """Metrics and cost of a trial's weights, as that trial measured them, bit for bit."""
    report = report or _silent
    seed_everything(spec.seed, spec.threads)
    device = resolve_device(spec.device)
    model, smaller = _rebuilt(spec, weights, device)
    mask = PruningMask(weights.mask, channels=weights.channels)
    mask.check(model)
    shared = Shared(profiles={cost_key(spec): cost_profile(spec, model, device)})
    cost = deployed_cost(spec, shared, mask, smaller, device)
    scores = task_of(spec).evaluate(
        smaller, 1.0, device, progress=lambda done: report("evaluate", done)
    )
    return scores, cost


def time_again(spec: TrialSpec, weights: PrunedWeights) -> Timed:
    """Latency of a trial's weights on this machine: never twice the same."""
    if spec.latency is None:
        return {}
    seed_everything(spec.seed, spec.threads)
    device = resolve_device(spec.device)
    return time_passes(spec, *_rebuilt(spec, weights, device), device)


def metrics_of(scores: Evaluation, cost: ModelCost) -> dict[str, float]:
    """The numbers that objectives and constraints see."""
    return {**scores.metrics, **cost_metrics(cost)}


def cost_metrics(cost: ModelCost) -> dict[str, float]:
    """Those that are known before any training. FLOPs = 2 x MACs."""
    return {
        "GFLOPs": 2 * cost.macs / 1e9,
        "GMACs": cost.macs / 1e9,
        "GMACs_dense": cost.macs_dense / 1e9,
        "parameters": float(cost.stored.parameters),
        "parameters_dense": float(cost.parameters),
        "nonzeros": float(cost.nonzeros),
        "bytes": float(cost.stored.bytes),
        "bytes_dense": float(cost.stored.bytes_dense),
    }


def _rebuilt(spec: TrialSpec, weights: PrunedWeights, device: str) -> tuple[nn.Module, nn.Module]:
    """The model of a trial with its weights, and as it is deployed."""
    model = task_of(spec).build()
    store.load_into(model, weights.state, "the weights given")
    model.to(device).eval()
    return model, deployed(model, weights.channels)


def _teacher(spec: TrialSpec, shared: Shared, device: str) -> nn.Module | None:
    """The checkpoint's own model, where fine-tuning distils from it."""
    tune = spec.fine_tune
    from_maps = tune.distill_features > 0 and task_of(spec).has_features
    if not from_maps and tune.distill_heads == 0:
        return None
    return trained_model(spec, shared).to(device).eval()


def _fine_tuning(spec: TrialSpec, mask: PruningMask) -> FineTuneSpec:
    """With the rate that goes with what was removed. A share of channels or N:M says too little of
    what they cost: there it is always lr.
    """
    if spec.allocation.pattern != "unstructured":
        return spec.fine_tune
    return replace(spec.fine_tune, lr=spec.fine_tune.rate_at(mask.sparsity()))


def _left_out(spec: TrialSpec) -> list[str]:
    """What a task of one's own lacks for."""
    tune = spec.fine_tune
    if task_of(spec).has_features or tune.distill_features == 0 or tune.steps == 0:
        return []
    return [f"fine_tune.distill_features: left out, as task {task_of(spec).name} has no features"]


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _silent(stage: str, fraction: float) -> None:
    """No report wanted."""
