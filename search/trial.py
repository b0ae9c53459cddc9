"""One trial, in order: load, score, mask, cost, fine-tune, evaluate. A plain function.

The same call runs in a test, in `sparsefront trial` and in a Ray worker. What every trial of a
sweep needs (dense weights, criterion statistics, cost profile) is prepared once, in Shared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from models import build
from models.checkpoint import store
from models.fusion_model import FusionModel
from pruning.channels.removal import Kept
from pruning.channels.select import select
from pruning.cost import ModelCost
from pruning.criteria import Magnitude
from pruning.groups import ModalityGroups
from pruning.mask import PruningMask
from scenes.frame import BadSample
from scenes.loader import Loader
from search import score_cache
from search.data import open_scenes
from search.evaluate import Evaluation, evaluate
from search.fine_tune import fine_tune, tuned_groups
from search.pruned_model import deployed, deployed_cost, prune_model
from search.shared import (
    Shared,
    cost_key,
    cost_profile,
    dense_graph,
    dense_model,
    prepare,
    resolve_device,
    trained_model,
)
from search.tasks import SKIPPED_TRAINING
from search.train import seed_everything
from search.trial_latency import Timed, latency_metrics, latency_record, time_passes
from search.trial_spec import TrialOutcome, TrialResult, TrialSpec

Report = Callable[[str, float], None]
"""Called with the stage (prepare, prune, fine_tune, evaluate) and the fraction of it done."""


def run_trial(
    spec: TrialSpec, shared: Shared | None = None, report: Report | None = None
) -> TrialOutcome:
    """Runs one trial here. What `shared` lacks is computed.

    Raises ValueError for inputs that do not fit, ArithmeticError for a loss or metric that is not
    finite.
    """
    report = report or _silent
    timings: dict[str, float] = {}
    started = time.monotonic()
    with _timed(timings, "prepare_s"):
        report("prepare", 0.0)
        shared = prepare(spec, shared)
    seed_everything(spec.seed, spec.threads)
    device = resolve_device(spec.device)
    spec.train_scenes().skipped.clear()
    model = dense_model(spec, shared).to(device)
    with _timed(timings, "prune_s"):
        report("prune", 0.0)
        groups = ModalityGroups.from_model(model)
        mask, rounds = prune_model(spec, shared, model, groups, device)
    with _timed(timings, "fine_tune_s"):
        losses = fine_tune(
            model, mask, _train_loader(spec), spec.fine_tune,
            teacher=_teacher(spec, shared, device), device=device,
            progress=lambda done: report("fine_tune", done),
        )  # fmt: skip
    left_out = len(spec.train_scenes().skipped)
    mask.check(model)
    smaller = deployed(model, mask.channels)
    cost = deployed_cost(spec, shared, model, smaller, device)
    with _timed(timings, "evaluate_s"):
        scores = evaluate(
            smaller, spec.val_scenes(), spec.image, tracker=spec.tracker, device=device,
            workers=spec.loader_workers, progress=lambda done: report("evaluate", done),
        )  # fmt: skip
    timed = time_passes(spec, model, smaller, device)
    timings["total_s"] = time.monotonic() - started
    if spec.on_bad_sample == "skip":
        scores = replace(scores, metrics={**scores.metrics, SKIPPED_TRAINING: float(left_out)})
    result = _result(spec, scores, cost, mask, groups, timings, losses, rounds)
    metrics = {**result.metrics, **latency_metrics(timed)}
    return TrialOutcome(
        result=replace(result, metrics=metrics, latency=latency_record(timed)),
        mask=_on_cpu(mask.by_weight),
        state_dict=_on_cpu(model.state_dict()),
        channels=mask.channels,
    )


def measure(
    spec: TrialSpec,
    state: Mapping[str, Tensor],
    channels: Kept | None = None,
    report: Report | None = None,
) -> tuple[Evaluation, ModelCost]:
    """Metrics and cost of a trial's weights, as that trial measured them, bit for bit."""
    report = report or _silent
    seed_everything(spec.seed, spec.threads)
    device = resolve_device(spec.device)
    model, smaller = _rebuilt(spec, state, channels, device)
    shared = Shared(profiles={cost_key(spec): cost_profile(spec, model, device)})
    cost = deployed_cost(spec, shared, model, smaller, device)
    scores = evaluate(
        smaller, spec.val_scenes(), spec.image, tracker=spec.tracker, device=device,
        workers=spec.loader_workers, progress=lambda done: report("evaluate", done),
    )  # fmt: skip
    return scores, cost


def time_again(spec: TrialSpec, state: Mapping[str, Tensor], channels: Kept | None) -> Timed:
    """Latency of a trial's weights on this machine: never twice the same."""
    if spec.latency is None:
        return {}
    seed_everything(spec.seed, spec.threads)
    device = resolve_device(spec.device)
    return time_passes(spec, *_rebuilt(spec, state, channels, device), device)


def metrics_of(scores: Evaluation, cost: ModelCost) -> dict[str, float]:
    """The numbers that objectives and constraints see. FLOPs = 2 x MACs."""
    return {
        **scores.metrics,
        "GFLOPs": 2 * cost.macs / 1e9,
        "GMACs": cost.macs / 1e9,
        "GMACs_dense": cost.macs_dense / 1e9,
        "parameters": float(cost.stored.parameters),
        "parameters_dense": float(cost.parameters),
        "nonzeros": float(cost.nonzeros),
        "bytes": float(cost.stored.bytes),
        "bytes_dense": float(cost.stored.bytes_dense),
    }


def check_trial(spec: TrialSpec) -> None:
    """Opens data and checkpoint, reads a frame of train and of val, resolves the allocation.
    ValueError in one line.
    """
    for name, scenes in (("train", spec.train_scenes), ("val", spec.val_scenes)):
        try:
            tokens = scenes().tokens
        except ValueError as error:
            raise ValueError(f"field trial.{name}: {error}") from error
        if not tokens:
            raise ValueError(f"field trial.{name}: the split has no frames")
        check_first_frame(spec, name)
    try:
        state = store.load(spec.checkpoint)[0]
        model = dense_model(spec, Shared(state={spec.checkpoint: state}))
    except ValueError as error:
        raise ValueError(f"field trial.checkpoint: {error}") from error
    try:
        tuned_groups(model, spec.fine_tune)
    except ValueError as error:
        raise ValueError(f"field trial.fine_tune.{error}") from error
    check_allocation(spec, model)


def check_first_frame(spec: TrialSpec, name: str) -> None:
    """ValueError where the first frame of train or val lacks a sensor or a map, or its images do
    not fit trial.image.
    """
    scenes = open_scenes(getattr(spec, name), spec.on_bad_sample)
    try:
        Loader(scenes, spec.image, None, 1, shuffle=False, seed=0).sample(0)
    except ValueError as error:
        if not isinstance(error, BadSample) or spec.on_bad_sample == "raise":
            raise ValueError(f"field trial.{name}: {error}") from error


def check_allocation(spec: TrialSpec, model: FusionModel) -> None:
    """ValueError where the allocation does not fit the model: a modality, stage or layer that is
    not there, a pattern that a layer's width does not allow, too few weights left.
    """
    groups = ModalityGroups.from_model(model)
    magnitude = Magnitude().scores(model, groups, [], score_cache.task_loss)
    try:
        if spec.allocation.pattern != "channel":
            PruningMask.from_scores(magnitude, spec.allocation, groups, model)
        elif spec.cross_prune is not None:
            raise ValueError("pattern: value 'channel'; allowed with cross_prune: unstructured")
        else:
            select(magnitude, spec.allocation, groups, dense_graph(spec, model, "cpu"))
    except ValueError as error:
        raise ValueError(f"field trial.allocation.{error}") from error


def _rebuilt(
    spec: TrialSpec, state: Mapping[str, Tensor], channels: Kept | None, device: str
) -> tuple[FusionModel, FusionModel]:
    """The model of a trial with its weights, and as it is deployed."""
    model = build(spec.model)
    store.load_into(model, state, "the weights given")
    model.to(device).eval()
    return model, deployed(model, channels or {})


def _teacher(spec: TrialSpec, shared: Shared, device: str) -> FusionModel | None:
    """The checkpoint's own model, where fine-tuning distils from it."""
    tune = spec.fine_tune
    if tune.distill_features == 0 and tune.distill_heads == 0:
        return None
    return trained_model(spec, shared).to(device).eval()


def _train_loader(spec: TrialSpec) -> Loader:
    scenes = spec.train_scenes()
    size = spec.fine_tune.batch_size
    return Loader(
        scenes, spec.image, spec.augment, size, shuffle=True, seed=spec.seed,
        drop_last=len(scenes.tokens) >= size, workers=spec.loader_workers,
    )  # fmt: skip


def _result(
    spec: TrialSpec,
    scores: Evaluation,
    cost: ModelCost,
    mask: PruningMask,
    groups: ModalityGroups,
    timings: dict[str, float],
    losses: list[float],
    rounds: list[dict[str, float]],
) -> TrialResult:
    return TrialResult(
        metrics={**metrics_of(scores, cost), "sparsity": mask.sparsity()},
        per_modality_sparsity=mask.achieved(groups),
        per_modality_GMACs={k: v.macs / 1e9 for k, v in cost.per_modality.items()},
        per_class=dict(scores.per_class),
        tp_errors=dict(scores.tp_errors),
        per_layer_sparsity=mask.by_layer_sparsity(),
        cost={
            **cost.to_json(),
            "frames": list(spec.val_scenes().tokens[: spec.cost_frames]),
        },
        timings=timings,
        losses=losses,
        admm=rounds,
    )


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _silent(stage: str, fraction: float) -> None:
    """No report wanted."""


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] = time.monotonic() - started
