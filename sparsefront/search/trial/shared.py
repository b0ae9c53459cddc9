"""What the trials of a sweep have in common, computed once: dense weights, the weights of a fuser
that the checkpoint lacks, criterion statistics, cost profile, channel graph.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sparsefront.errors import InputError
from sparsefront.models import BEVFusionMIT, BEVFusionSmall, build
from sparsefront.models.checkpoint import store
from sparsefront.models.checkpoint.other_fuser import convert_fuser, fuser_of, trained_fuser
from sparsefront.models.fuser import PREFIX, AddFuser
from sparsefront.models.fusion_model import FusionModel
from sparsefront.models.recompute import recompute_backbone
from sparsefront.pruning.channels.graph import ChannelGraph, channel_graph
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.cost import CostProfile, profile
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.weighted_moments import weighted_moments
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import Loader
from sparsefront.search.config.device import resolve_device
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.evaluation.calibration import BATCH_SIZE, calibration_batches, run
from sparsefront.search.training.seeding import seed_everything
from sparsefront.search.trial import evaluation_frames, score_cache
from sparsefront.search.trial.evaluation_frames import EvaluationFrames
from sparsefront.search.trial.fitted_fuser import fitted_projections
from sparsefront.search.trial.loss_curves import (
    CurveRequest,
    Curves,
    RepairInputs,
    curves_of,
    resolved,
    trade_off_request,
    with_criterion,
)
from sparsefront.search.trial.mapped import as_arrays, as_tensors

MOST_OWN = 4
"""Of each part, what a process keeps that it computed itself."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What trials have in common; Ray's object store has it once, the workers of a node map it.

    state       dense state dict by checkpoint path
    fusers      projections of a fuser `add` that the checkpoint lacks, by score_cache.batches_key
    statistics  criterion statistics by score_cache.key_of
    moments     second moments of the layers' inputs by score_cache.moments_key, where trials repair
    profiles    cost profile by cost_key
    graphs      channel graph by cost_key, where a trial prunes channels
    curves      loss curves by CurveRequest.key, where a trade-off or the search follows them
    frames      what is read of the evaluation frames, by evaluation_frames.key_of; in a sweep
    """

    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    fusers: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    statistics: dict[str, dict[str, dict[str, Tensor]]] = field(default_factory=dict)
    moments: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    profiles: dict[str, CostProfile] = field(default_factory=dict)
    graphs: dict[str, ChannelGraph] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    frames: dict[str, EvaluationFrames] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {name: as_arrays(part) for name, part in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, part in state.items():
            object.__setattr__(self, name, as_tensors(part))


def prepare(spec: TrialSpec, shared: Shared | None = None) -> Shared:
    """Shared with all that this spec needs; what it has already is kept, not recomputed."""
    shared = shared or Shared()
    shared = Shared(
        state=dict(shared.state), fusers=dict(shared.fusers), statistics=dict(shared.statistics),
        moments=dict(shared.moments), profiles=dict(shared.profiles), graphs=dict(shared.graphs),
        curves=dict(shared.curves), frames=dict(shared.frames),
    )  # fmt: skip
    if spec.checkpoint not in shared.state:
        shared.state[spec.checkpoint] = store.load(spec.checkpoint)[0]
    device = resolve_device(spec.device)
    batches, cost = score_cache.batches_key(spec), cost_key(spec)
    if batches not in shared.fusers:
        shared.fusers[batches] = _fitted(spec, shared, device)
    scored = (
        [spec]
        if spec.trade_off is None
        else [spec, with_criterion(spec, spec.trade_off.predicted_by)]
    )
    for scoring in scored:
        _score(scoring, shared, device)
    moments = score_cache.moments_key(spec)
    if spec.repair.method != "none" and moments not in shared.moments:
        shared.moments[moments] = _moments(spec, shared, device)
    if cost not in shared.profiles:
        model = dense_model(spec, shared).to(device).eval()
        shared.profiles[cost] = cost_profile(spec, model, device)
    if spec.allocation.pattern == "channel" and cost not in shared.graphs:
        shared.graphs[cost] = dense_graph(spec, dense_model(spec, shared).to(device), device)
    if spec.trade_off is not None:
        request = trade_off_request(spec)
        if request.key() not in shared.curves:
            shared.curves[request.key()] = _curves(request, shared, device)
    return shared


def with_curves(request: CurveRequest, shared: Shared) -> Shared:
    """Shared with the curves that are asked for."""
    if request.key() in shared.curves:
        return shared
    spec = request.spec
    shared = prepare(spec, shared)
    if not request.repaired():
        shared = prepare(with_criterion(spec, request.predicted_by), shared)
    shared.curves[request.key()] = _curves(request, shared, resolve_device(spec.device))
    return shared


def _curves(request: CurveRequest, shared: Shared, device: str) -> Curves:
    spec, repair = request.spec, None
    if request.repaired():
        seed_everything(spec.seed, spec.threads)
        model = dense_model(spec, shared).to(device).eval()
        frames = calibration_batches(
            spec.train_scenes(), spec.image, spec.seed, spec.repair.frames, device, batch_size=1
        )
        repair = RepairInputs(
            model=model,
            moments=shared.moments[score_cache.moments_key(spec)],
            weighted=weighted_moments(model, frames, score_cache.task_loss),
        )
    return curves_of(request, shared.statistics, shared.profiles[cost_key(spec)], repair)


def trim(shared: Shared, base: Shared) -> Shared:
    """What `base` has, and of each part the last MOST_OWN that were computed beyond it, so that a
    process does not grow where every trial needs others.
    """
    parts = {}
    for name, part in vars(shared).items():
        own = [key for key in part if key not in getattr(base, name)]
        old = set(own[:-MOST_OWN])
        parts[name] = {key: value for key, value in part.items() if key not in old}
    return Shared(**parts)


def _score(spec: TrialSpec, shared: Shared, device: str) -> None:
    """The statistics of the spec's criterion, where they are not there yet."""
    key = score_cache.key_of(spec)
    if key in shared.statistics:
        return
    seed_everything(spec.seed, spec.threads)
    model = dense_model(spec, shared).to(device)
    groups = ModalityGroups.from_model(model)
    shared.statistics[key] = score_cache.compute(spec, model, groups, spec.train_scenes(), device)


def _moments(spec: TrialSpec, shared: Shared, device: str) -> dict[str, Tensor]:
    """H of every prunable weight's layer in the dense model, on the CPU."""
    seed_everything(spec.seed, spec.threads)
    model = dense_model(spec, shared).to(device).eval()
    batches = calibration_batches(
        spec.train_scenes(), spec.image, spec.seed, spec.repair.frames, device
    )
    found = second_moments(model, batches, run, batch_size=BATCH_SIZE)
    prunable = prunable_weights(model)
    return {name: moment.cpu() for name, moment in found.items() if name in prunable}


def with_allocation(spec: TrialSpec, shared: Shared) -> TrialSpec:
    """The spec with its trade-off turned into the allocation that it stands for."""
    if spec.trade_off is None:
        return spec
    allocation = resolved(spec, shared.curves[trade_off_request(spec).key()])
    return replace(spec, allocation=allocation, trade_off=None)


def prepare_all(
    specs: list[TrialSpec], shares: Sequence[float], request: CurveRequest | None = None
) -> Shared:
    """Shared with all that these specs need, measured on these shares of the evaluation frames, and
    with the curves that are asked for.
    """
    shared = Shared()
    for spec in specs:
        shared = prepare(spec, shared)
        key = evaluation_frames.key_of(spec)
        if key not in shared.frames:
            shared.frames[key] = evaluation_frames.read(spec, shares)
    return shared if request is None else with_curves(request, shared)


def dense_model(spec: TrialSpec, shared: Shared) -> FusionModel:
    """A fresh model with the dense checkpoint's weights; a fuser that the checkpoint lacks starts
    from its concat. InputError where they do not fit.
    """
    model = build(spec.model)
    if spec.checkpoint_activations:
        recompute_backbone(model)
    state = convert_fuser(model, shared.state[spec.checkpoint], spec.checkpoint)
    fitted = shared.fusers.get(score_cache.batches_key(spec), {})
    store.load_into(model, {**state, **fitted}, spec.checkpoint)
    return model


def dense_model_on(spec: TrialSpec, shared: Shared, device: str) -> FusionModel:
    """The same on a device, to which this process moves the weights once and not for each trial."""
    if device == "cpu":
        return dense_model(spec, shared)
    parts = (asdict(spec.model), spec.checkpoint_activations, score_cache.batches_key(spec), device)
    key = json.dumps(parts, sort_keys=True)
    if key not in _on_device:
        _on_device.clear()
        _on_device[key] = dense_model(spec, shared).to(device)
    return copy.deepcopy(_on_device[key])


_on_device: dict[str, FusionModel] = {}
"""The one of the last trial, from which the next is copied."""


def forget_dense_models() -> None:
    """Lets go of what dense_model_on keeps on the device."""
    _on_device.clear()


def trained_model(spec: TrialSpec, shared: Shared) -> FusionModel:
    """The checkpoint's own model, with the fuser that it was trained with."""
    return dense_model(trained_spec(spec, shared), shared)


def trained_spec(spec: TrialSpec, shared: Shared) -> TrialSpec:
    """The spec with the fuser that its checkpoint was trained with."""
    if not isinstance(spec.model, (BEVFusionSmall, BEVFusionMIT)):
        return spec
    fuser = trained_fuser(shared.state[spec.checkpoint])
    return replace(spec, model=replace(spec.model, fuser=fuser))


def _fitted(spec: TrialSpec, shared: Shared, device: str) -> dict[str, Tensor]:
    """Projections for a model that adds, where the checkpoint's concatenates; else nothing."""
    adds = getattr(spec.model, "fuser", "concat") == "add"
    if not adds or trained_fuser(shared.state[spec.checkpoint]) == "add":
        return {}
    fuser = fuser_of(dense_model(spec, shared))
    assert isinstance(fuser, AddFuser)
    seed_everything(spec.seed, spec.threads)
    trained = trained_model(spec, shared).to(device)
    batches = score_cache.scoring_batches(spec, spec.train_scenes(), device)
    return {PREFIX + k: v for k, v in fitted_projections(fuser, trained, batches).items()}


def cost_profile(spec: TrialSpec, model: FusionModel, device: str) -> CostProfile:
    """Uses per weight on the first `cost_frames` evaluation frames; sparse convs by true pairs."""
    batches = [batch.to(device) for batch in cost_batches(spec)]
    with torch.no_grad():
        return profile(model, batches)


def dense_graph(spec: TrialSpec, model: FusionModel, device: str) -> ChannelGraph:
    """Which channels are tied, found on the first evaluation frame."""
    batch = cost_batches(replace(spec, cost_frames=1))[0].to(device)
    graph = channel_graph(model, batch)
    verify(model, batch, graph)
    return graph


def cost_batches(spec: TrialSpec) -> list[SensorBatch]:
    """The evaluation frames, one at a time and in order, that MACs are averaged over."""
    loader = Loader(
        spec.val_scenes(),
        spec.image,
        None,
        batch_size=1,
        shuffle=False,
        seed=0,
    )
    found = [batch for batch, _ in zip(loader, range(spec.cost_frames), strict=False)]
    if not found:
        raise InputError(f"val: none of {len(loader.frames)} frames could be read")
    return found


def cost_key(spec: TrialSpec) -> str:
    """What a cost profile depends on."""
    parts = [asdict(spec.model), asdict(spec.val), asdict(spec.image), spec.cost_frames]
    return json.dumps(parts, sort_keys=True)
