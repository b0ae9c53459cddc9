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
from torch import Tensor, nn

from sparsefront.models import BEVFusionMIT, BEVFusionSmall, FusionModel
from sparsefront.models.checkpoint import store
from sparsefront.models.checkpoint.other_fuser import convert_fuser, fuser_of, trained_fuser
from sparsefront.models.fuser import PREFIX, AddFuser
from sparsefront.models.recompute import recompute_backbone
from sparsefront.pruning.channels.graph import ChannelGraph, channel_graph
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.cost import CostProfile, profile
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.weighted_moments import weighted_moments
from sparsefront.pruning.weights import prunable_weights
from sparsefront.search.config.device import resolve_device
from sparsefront.search.config.trial_spec import NO_CHECKPOINT, TrialSpec
from sparsefront.search.tasks.checkpoint_file import read_state
from sparsefront.search.tasks.choose import task_of
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
    if (key := state_key(spec)) not in shared.state:
        shared.state[key] = dense_state(spec)
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
        task = task_of(spec)
        frames = task.calibration_batches(spec.seed, spec.repair.frames, device, batch_size=1)
        repair = RepairInputs(
            model=model,
            moments=shared.moments[score_cache.moments_key(spec)],
            weighted=weighted_moments(model, frames, task.loss),
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
    shared.statistics[key] = score_cache.compute(spec, model, spec.groups(model), device)


def _moments(spec: TrialSpec, shared: Shared, device: str) -> dict[str, Tensor]:
    """H of every prunable weight's layer in the dense model, on the CPU."""
    seed_everything(spec.seed, spec.threads)
    model = dense_model(spec, shared).to(device).eval()
    task = task_of(spec)
    batches = task.calibration_batches(spec.seed, spec.repair.frames, device)
    size = task.frames_a_batch(batches)
    found = second_moments(model, batches, task.forward, batch_size=size)
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


def state_key(spec: TrialSpec) -> str:
    """Of the dense weights among Shared.state."""
    if spec.checkpoint != NO_CHECKPOINT:
        return spec.checkpoint
    built = {**score_cache.subject(spec), "seed": spec.seed, "threads": spec.threads}
    return json.dumps(built, sort_keys=True, default=str)


def dense_state(spec: TrialSpec) -> dict[str, Tensor]:
    """The weights of the checkpoint, or those that a task's own model comes with."""
    if spec.checkpoint != NO_CHECKPOINT:
        own = spec.task is not None
        return read_state(spec.checkpoint) if own else store.load(spec.checkpoint)[0]
    seed_everything(spec.seed, spec.threads)
    return {name: t.detach().clone() for name, t in task_of(spec).build().state_dict().items()}


def dense_model(spec: TrialSpec, shared: Shared) -> nn.Module:
    """A fresh model with the dense checkpoint's weights; a fuser that the checkpoint lacks starts
    from its concat. InputError where they do not fit.
    """
    model = task_of(spec).build()
    if spec.checkpoint_activations:
        recompute_backbone(model)
    state = convert_fuser(model, shared.state[state_key(spec)], spec.checkpoint)
    fitted = shared.fusers.get(score_cache.batches_key(spec), {})
    store.load_into(model, {**state, **fitted}, spec.checkpoint)
    return model


def dense_model_on(spec: TrialSpec, shared: Shared, device: str) -> nn.Module:
    """The same on a device, to which this process moves the weights once and not for each trial."""
    if device == "cpu":
        return dense_model(spec, shared)
    parts = (
        score_cache.subject(spec), spec.checkpoint_activations, score_cache.batches_key(spec),
        device,
    )  # fmt: skip
    key = json.dumps(parts, sort_keys=True, default=str)
    if key not in _on_device:
        _on_device.clear()
        _on_device[key] = dense_model(spec, shared).to(device)
    return copy.deepcopy(_on_device[key])


_on_device: dict[str, nn.Module] = {}
"""The one of the last trial, from which the next is copied."""


def forget_dense_models() -> None:
    """Lets go of what dense_model_on keeps on the device."""
    _on_device.clear()


def trained_model(spec: TrialSpec, shared: Shared) -> nn.Module:
    """The checkpoint's own model, with the fuser that it was trained with."""
    return dense_model(trained_spec(spec, shared), shared)


def trained_spec(spec: TrialSpec, shared: Shared) -> TrialSpec:
    """The spec with the fuser that its checkpoint was trained with."""
    if not isinstance(spec.model, (BEVFusionSmall, BEVFusionMIT)):
        return spec
    fuser = trained_fuser(shared.state[state_key(spec)])
    if not isinstance(spec.model.fuser, str):
        state = shared.state[state_key(spec)]
        names = {n for n in spec.build().state_dict() if n.startswith(PREFIX)}
        if names == {n for n in state if n.startswith(PREFIX)}:
            return spec  # it was trained with this fuser
    return replace(spec, model=replace(spec.model, fuser=fuser))


def _fitted(spec: TrialSpec, shared: Shared, device: str) -> dict[str, Tensor]:
    """Projections for a model that adds, where the checkpoint's concatenates; else nothing."""
    adds = getattr(spec.model, "fuser", "concat") == "add"
    if not adds or trained_fuser(shared.state[state_key(spec)]) == "add":
        return {}
    fuser = fuser_of(dense_model(spec, shared))
    assert isinstance(fuser, AddFuser)
    seed_everything(spec.seed, spec.threads)
    trained = trained_model(spec, shared).to(device)
    assert isinstance(trained, FusionModel)
    batches = task_of(spec).scoring_batches(spec.seed, spec.score_batches, device)
    return {PREFIX + k: v for k, v in fitted_projections(fuser, trained, batches).items()}


def cost_profile(spec: TrialSpec, model: nn.Module, device: str) -> CostProfile:
    """Uses per weight on the first `cost_frames` evaluation frames; sparse convs by true pairs."""
    task = task_of(spec)
    batches = [task.to_device(batch, device) for batch in task.cost_batches(spec.cost_frames)]
    with torch.no_grad():
        return profile(model, batches, task.forward, spec.groups(model))


def dense_graph(spec: TrialSpec, model: nn.Module, device: str) -> ChannelGraph:
    """Which channels are tied, found on the first evaluation frame."""
    task = task_of(spec)
    batch = task.to_device(task.cost_batches(1)[0], device)
    graph = channel_graph(model, batch, task.forward)
    verify(model, batch, graph, task.forward)
    return graph


def cost_key(spec: TrialSpec) -> str:
    """What a cost profile depends on."""
    if spec.task is not None:
        own = [score_cache.subject(spec), spec.cost_frames]
        return json.dumps(own, sort_keys=True, default=str)
    model, _, val = spec.parts
    parts = [asdict(model), asdict(val), asdict(spec.image), spec.cost_frames]
    return json.dumps(parts, sort_keys=True, default=str)
