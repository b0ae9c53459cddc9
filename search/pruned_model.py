"""From a trial's spec to a pruned model: scores, mask at the allocation, channels to take out."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from torch import Tensor

from models.fusion_model import FusionModel
from pruning.channels.graph import ChannelGraph
from pruning.channels.removal import Kept, kept_positions, shrink
from pruning.channels.select import select, weight_masks
from pruning.cost import ModelCost, combined
from pruning.crossprune import cross_prune
from pruning.groups import ModalityGroups
from pruning.mask import PruningMask
from pruning.scores import ImportanceScores
from scenes.batch import SensorBatch
from search import score_cache
from search.shared import Shared, cost_key, cost_profile, open_scenes
from search.trial_spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """mask       what stays of each weight, to hold while fine-tuning
    channels   positions left of each tensor, where whole channels go; else empty
    rounds     residuals and terms of CrossPrune's ADMM, if it ran
    """

    mask: PruningMask
    channels: Kept = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)


def prune_model(
    spec: TrialSpec, shared: Shared, model: FusionModel, groups: ModalityGroups, device: str
) -> Pruned:
    """Zeroes the model's least important weights or channels, in place."""
    statistics = shared.statistics[score_cache.key_of(spec)]
    scores = score_cache.scores(spec, statistics, groups)
    if spec.allocation.pattern == "channel":
        return prune_channels(spec, model, scores, groups, shared.graphs[cost_key(spec)])
    if spec.cross_prune is not None:
        batches = score_cache.scoring_batches(spec, open_scenes(spec.train), device)
        mask, rounds = cross_prune(
            model, groups, spec.allocation, batches, score_cache.task_loss, _features,
            spec.cross_prune, scores=scores,
        )  # fmt: skip
        return Pruned(mask=mask, rounds=rounds)
    mask = PruningMask.from_scores(scores, spec.allocation, groups, model)
    mask.apply(model)
    return Pruned(mask=mask)


def prune_channels(
    spec: TrialSpec,
    model: FusionModel,
    scores: ImportanceScores,
    groups: ModalityGroups,
    graph: ChannelGraph,
) -> Pruned:
    """Zeroes whole channels, with the biases and norms that belong to them."""
    kept = select(scores, spec.allocation, groups, graph)
    masks = weight_masks(graph, kept, dict(model.named_parameters()))
    whole = {name: masks.get(name, ~s.isnan()) for name, s in scores.by_weight.items()}
    tied = {name: mask for name, mask in masks.items() if name not in whole}
    mask = PruningMask(whole, tied)
    mask.apply(model)
    return Pruned(mask=mask, channels=kept_positions(graph, kept))


def deployed(model: FusionModel, channels: Kept) -> FusionModel:
    """The model as it is measured: without the channels that went, else the model itself."""
    if not channels:
        return model
    smaller = shrink(copy.deepcopy(model), channels)
    assert isinstance(smaller, FusionModel)
    return smaller


def deployed_cost(
    spec: TrialSpec, shared: Shared, model: FusionModel, smaller: FusionModel, device: str
) -> ModelCost:
    """Cost beside the dense model's: by non-zero weights, or by running the smaller model."""
    dense = shared.profiles[cost_key(spec)].cost(model)
    if smaller is model:
        return dense
    return combined(dense, cost_profile(spec, smaller, device).cost(smaller))


def _features(model: FusionModel, batch: SensorBatch) -> dict[str, Tensor]:
    return model.features(batch)
