"""One trial, in order: load, score, mask, cost, fine-tune, evaluate. A plain function.

The same call runs in a test, in `sparsefront trial` and in a Ray worker. What every trial of a
sweep needs (dense weights, criterion statistics, cost profile) is prepared once, in Shared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from models import build
from models.checkpoint import store
from models.fusion_model import FusionModel
from pruning.cost import CostProfile, ModelCost, profile
from pruning.criteria import Magnitude
from pruning.crossprune import cross_prune
from pruning.groups import ModalityGroups
from pruning.mask import PruningMask
from scenes.batch import SensorBatch
from scenes.loader import Loader
from scenes.nuscenes import NuScenesScenes, NuScenesSpec
from scenes.scoring.nuscenes_detection import DetectionScores
from search import score_cache
from search.evaluate import evaluate
from search.fine_tune import fine_tune
from search.train import seed_everything
from search.trial_spec import TrialResult, TrialSpec

Report = Callable[[str, float], None]
"""Called with the stage (prepare, prune, fine_tune, evaluate) and the fraction of it done."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What trials have in common; picklable, so Ray's object store carries it once.

    state       dense state dict by checkpoint path
    statistics  criterion statistics by score_cache.key_of
    profiles    cost profile by cost_key
    """

    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    statistics: dict[str, dict[str, dict[str, Tensor]]] = field(default_factory=dict)
    profiles: dict[str, CostProfile] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """A result with the tensors it was measured on: bool masks, and the pruned weights."""

    result: TrialResult
    mask: dict[str, Tensor]
    state_dict: dict[str, Tensor]


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
    model = dense_model(spec, shared).to(device)
    with _timed(timings, "prune_s"):
        report("prune", 0.0)
        groups = ModalityGroups.from_model(model)
        mask, rounds = prune_model(spec, shared, model, groups, device)
        cost = shared.profiles[cost_key(spec)].cost(mask)
    with _timed(timings, "fine_tune_s"):
        losses = fine_tune(
            model, mask, _train_loader(spec), spec.fine_tune,
            teacher=_teacher(spec, shared, device), device=device,
            progress=lambda done: report("fine_tune", done),
        )  # fmt: skip
    mask.check(model)
    with _timed(timings, "evaluate_s"):
        scores = evaluate(
            model, open_scenes(spec.val), spec.image, device=device,
            progress=lambda done: report("evaluate", done),
        )  # fmt: skip
        cost = shared.profiles[cost_key(spec)].cost(model)
    timings["total_s"] = time.monotonic() - started
    result = _result(scores, cost, mask, groups, timings, losses, rounds)
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return TrialOutcome(result=result, mask=_on_cpu(mask.by_weight), state_dict=state)


def prepare(spec: TrialSpec, shared: Shared | None = None) -> Shared:
    """Shared with all that this spec needs; what it has already is kept, not recomputed."""
    shared = shared or Shared()
    state, statistics, profiles = dict(shared.state), dict(shared.statistics), dict(shared.profiles)
    if spec.checkpoint not in state:
        state[spec.checkpoint] = store.load(spec.checkpoint)[0]
    wanted, wanted_cost = score_cache.key_of(spec), cost_key(spec)
    if wanted in statistics and wanted_cost in profiles:
        return Shared(state=state, statistics=statistics, profiles=profiles)
    device = resolve_device(spec.device)
    if wanted not in statistics:
        seed_everything(spec.seed, spec.threads)
        model = dense_model(spec, Shared(state=state)).to(device)
        groups = ModalityGroups.from_model(model)
        scenes = open_scenes(spec.train)
        statistics[wanted] = score_cache.compute(spec, model, groups, scenes, device)
    if wanted_cost not in profiles:
        model = dense_model(spec, Shared(state=state)).to(device).eval()
        profiles[wanted_cost] = cost_profile(spec, model, device)
    return Shared(state=state, statistics=statistics, profiles=profiles)


def prepare_all(specs: list[TrialSpec]) -> Shared:
    """Shared with all that these specs need."""
    shared = Shared()
    for spec in specs:
        shared = prepare(spec, shared)
    return shared


def measure(
    spec: TrialSpec, state: dict[str, Tensor], report: Report | None = None
) -> tuple[DetectionScores, ModelCost]:
    """Metrics and cost of given weights, as the spec's trial measured them, bit for bit."""
    report = report or _silent
    seed_everything(spec.seed, spec.threads)
    device = resolve_device(spec.device)
    model = build(spec.model)
    store.load_into(model, state, "the weights given")
    model.to(device).eval()
    cost = cost_profile(spec, model, device).cost(model)
    scores = evaluate(
        model, open_scenes(spec.val), spec.image, device=device,
        progress=lambda done: report("evaluate", done),
    )  # fmt: skip
    return scores, cost


def metrics_of(scores: DetectionScores, cost: ModelCost) -> dict[str, float]:
    """The numbers that objectives and constraints see. FLOPs = 2 x MACs."""
    return {
        "mAP": scores.mAP,
        "NDS": scores.NDS,
        "GFLOPs": 2 * cost.macs / 1e9,
        "GMACs": cost.macs / 1e9,
        "GMACs_dense": cost.macs_dense / 1e9,
        "parameters": float(cost.parameters),
        "nonzeros": float(cost.nonzeros),
    }


def dense_model(spec: TrialSpec, shared: Shared) -> FusionModel:
    """A fresh model with the dense checkpoint's weights. ValueError where they do not fit."""
    model = build(spec.model)
    store.load_into(model, shared.state[spec.checkpoint], spec.checkpoint)
    return model


def prune_model(
    spec: TrialSpec, shared: Shared, model: FusionModel, groups: ModalityGroups, device: str
) -> tuple[PruningMask, list[dict[str, float]]]:
    """Statistics -> scores -> mask at the spec's allocation, applied in place; where the spec asks
    for CrossPrune, its ADMM starts there. Returns the mask and the ADMM's rounds.
    """
    statistics = shared.statistics[score_cache.key_of(spec)]
    scores = score_cache.scores(spec, statistics, groups)
    if spec.cross_prune is not None:
        batches = score_cache.scoring_batches(spec, open_scenes(spec.train), device)
        return cross_prune(
            model, groups, spec.allocation, batches, score_cache.task_loss, _features,
            spec.cross_prune, scores=scores,
        )  # fmt: skip
    mask = PruningMask.from_scores(scores, spec.allocation, groups, model)
    mask.apply(model)
    return mask, []


def _teacher(spec: TrialSpec, shared: Shared, device: str) -> FusionModel | None:
    """The dense model, where fine-tuning distils from it."""
    tune = spec.fine_tune
    if tune.distill_features == 0 and tune.distill_heads == 0:
        return None
    return dense_model(spec, shared).to(device).eval()


def _features(model: FusionModel, batch: SensorBatch) -> dict[str, Tensor]:
    return model.features(batch)


def cost_profile(spec: TrialSpec, model: FusionModel, device: str) -> CostProfile:
    """Uses per weight on the first `cost_frames` evaluation frames; sparse convs by true pairs."""
    batches = [batch.to(device) for batch in cost_batches(spec)]
    with torch.no_grad():
        return profile(model, batches, _forward)


def cost_batches(spec: TrialSpec) -> list[SensorBatch]:
    """The evaluation frames, one at a time and in order, that MACs are averaged over."""
    loader = Loader(open_scenes(spec.val), spec.image, None, batch_size=1, shuffle=False, seed=0)
    return [batch for batch, _ in zip(loader, range(spec.cost_frames), strict=False)]


def cost_key(spec: TrialSpec) -> str:
    """What a cost profile depends on."""
    parts = [asdict(spec.model), asdict(spec.val), asdict(spec.image), spec.cost_frames]
    return json.dumps(parts, sort_keys=True)


def check_trial(spec: TrialSpec) -> None:
    """Opens data and checkpoint and resolves the allocation. ValueError in one line; no writes."""
    for name in ("train", "val"):
        try:
            tokens = open_scenes(getattr(spec, name)).tokens
        except ValueError as error:
            raise ValueError(f"field trial.{name}: {error}") from error
        if not tokens:
            raise ValueError(f"field trial.{name}: the split has no frames")
    try:
        state = store.load(spec.checkpoint)[0]
        model = dense_model(spec, Shared(state={spec.checkpoint: state}))
    except ValueError as error:
        raise ValueError(f"field trial.checkpoint: {error}") from error
    check_allocation(spec, model)


def check_allocation(spec: TrialSpec, model: FusionModel) -> None:
    """ValueError where the allocation names a modality, stage or layer that the model lacks."""
    groups = ModalityGroups.from_model(model)
    magnitude = Magnitude().scores(model, groups, [], score_cache.task_loss)
    try:
        PruningMask.from_scores(magnitude, spec.allocation, groups, model)
    except ValueError as error:
        raise ValueError(f"field trial.allocation.{error}") from error


@lru_cache(maxsize=4)
def open_scenes(spec: NuScenesSpec) -> NuScenesScenes:
    """Scenes of a spec, kept for the next trial in this process."""
    return NuScenesScenes(spec)


def resolve_device(device: str) -> str:
    """'auto' is the GPU that this process may see, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _train_loader(spec: TrialSpec) -> Loader:
    scenes = open_scenes(spec.train)
    size = spec.fine_tune.batch_size
    return Loader(
        scenes, spec.image, spec.augment, size, shuffle=True, seed=spec.seed,
        drop_last=len(scenes.tokens) >= size,
    )  # fmt: skip


def _result(
    scores: DetectionScores,
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
        per_class_AP=dict(scores.per_class),
        tp_errors=dict(scores.tp_errors),
        per_layer_sparsity=mask.by_layer_sparsity(),
        cost=cost.to_json(),
        timings=timings,
        losses=losses,
        admm=rounds,
    )


def _forward(model: FusionModel, batch: SensorBatch) -> object:
    return model(batch)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def _silent(stage: str, fraction: float) -> None:
    """No report wanted."""


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] = time.monotonic() - started
