"""Which channels stay: scores of whole channels under an allocation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation, SparsityGroup
from sparsefront.pruning.channels.graph import STAYS, ChannelGraph
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.layerwise import apportion
from sparsefront.pruning.mask import PruningMask, top_mask
from sparsefront.pruning.scores import ImportanceScores


def select(
    scores: ImportanceScores,
    allocation: SparsityAllocation,
    groups: ModalityGroups,
    graph: ChannelGraph,
) -> Tensor:
    """Bool [units]: which channels stay. Of the N channels of a sparsity group exactly
    round((1 - sparsity) N) stay, highest score first; at least one (or min_keep) of every set of
    tied layers.

    A channel's filters are those of all tied layers (a head's: its rows of q, k and v);
    `scores.channels` says what they are worth. A channel is in the sparsity group of the first of
    these layers. InputError where the allocation does not fit.
    """
    if allocation.rule not in ("global", "uniform"):
        raise InputError(f"rule: value {allocation.rule!r}; allowed for channels: global, uniform")
    importance = unit_scores(scores, graph)
    kept = torch.ones(len(graph), dtype=torch.bool)
    first_maker = [makers[0] for makers in graph.made_by]
    for group in allocation.sparsity_groups(groups.assign(scores.by_weight)):
        names = set(group.names)
        units = [u for u, maker in enumerate(first_maker) if maker in names]
        if group.sparsity > 0 and units:
            kept[units] = _keep(importance, units, graph, group, allocation)
    return kept


def channel_mask(
    scores: ImportanceScores,
    allocation: SparsityAllocation,
    groups: ModalityGroups,
    graph: ChannelGraph,
    model: nn.Module,
) -> PruningMask:
    """The mask that zeroes what `select` does not keep, biases and norms along with it."""
    kept = select(scores, allocation, groups, graph)
    masks = weight_masks(graph, kept, dict(model.named_parameters()))
    whole = {name: masks.get(name, ~s.isnan()) for name, s in scores.by_weight.items()}
    tied = {name: mask for name, mask in masks.items() if name not in whole}
    return PruningMask(whole, tied, kept_positions(graph, kept))


def kept_positions(graph: ChannelGraph, kept: Tensor) -> dict[str, dict[int, list[int]]]:
    """What is left along each axis that loses channels."""
    found: dict[str, dict[int, list[int]]] = {}
    for name, axes in graph.axes.items():
        for axis, line in axes.items():
            alive = is_kept(line, kept)
            if not alive.all():
                found.setdefault(name, {})[axis] = alive.nonzero().flatten().tolist()
    return found


def unit_scores(scores: ImportanceScores, graph: ChannelGraph) -> Tensor:
    """Score of each channel, float64 [units]."""
    total, weights = torch.zeros(len(graph)).double(), torch.zeros(len(graph)).double()
    makers = {name: None for names in graph.made_by for name in names}
    for name in makers:
        if name not in scores.by_weight:
            continue
        score = scores.by_weight[name].detach().double().cpu()
        axis, line = output_axis(graph, name)
        others = [a for a in range(score.ndim) if a != axis]
        filters = score.mean(others) if scores.channels == "filter" else score.sum(others)
        alive = line != STAYS
        total.index_add_(0, line[alive], filters[alive])
        size = score.numel() / score.shape[axis]
        weights.index_add_(0, line[alive], torch.full_like(filters[alive], size))
    return total / weights.clamp(min=1) if scores.channels == "mean" else total


def output_axis(graph: ChannelGraph, name: str) -> tuple[int, Tensor]:
    """The axis along which a weight makes channels, and their units."""
    mine = {u for u, names in enumerate(graph.made_by) if name in names}
    for axis, line in graph.axes[name].items():
        units = set(line.tolist()) - {STAYS}
        if units and units <= mine:
            return axis, line
    raise KeyError(name)


def weight_masks(
    graph: ChannelGraph, kept: Tensor, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Bool masks of every tensor that loses channels: False wherever a position of any axis goes.
    Running statistics are left out: they may keep their values.
    """
    masks = {}
    for name, axes in graph.axes.items():
        if name.rpartition(".")[2] in ("running_mean", "running_var"):
            continue
        mask = torch.ones(tensors[name].shape, dtype=torch.bool, device=tensors[name].device)
        for axis, line in axes.items():
            view = [1] * mask.ndim
            view[axis] = len(line)
            mask &= is_kept(line, kept).view(view).to(mask.device)
        masks[name] = mask
    return masks


def is_kept(line: Tensor, kept: Tensor) -> Tensor:
    """Bool [positions] of an axis: those whose channel stays."""
    if len(kept) == 0:
        return line == STAYS
    return (line == STAYS) | kept[line.clamp(min=0)]


def _keep(
    importance: Tensor,
    units: list[int],
    graph: ChannelGraph,
    group: SparsityGroup,
    allocation: SparsityAllocation,
) -> Tensor:
    """Bool, which of these units stay."""
    values = importance[units]
    total = round((1 - group.sparsity) * len(units))
    sets: dict[tuple[str, ...], list[int]] = {}
    for position, unit in enumerate(units):
        sets.setdefault(graph.made_by[unit], []).append(position)
    floors = [min(max(1, allocation.min_keep), len(found)) for found in sets.values()]
    if sum(floors) > total:
        raise InputError(
            f"allocation of {group.label}: sparsity {group.sparsity!r} keeps {total} of "
            f"{len(units)} channels; {len(sets)} sets of tied layers need {sum(floors)}"
        )
    if allocation.rule == "uniform":
        sizes = [len(found) for found in sets.values()]
        shares = [total * size / len(units) for size in sizes]
        counts = apportion(shares, total, floors, sizes)
        kept = torch.zeros(len(units), dtype=torch.bool)
        for found, count in zip(sets.values(), counts, strict=True):
            kept[found] = top_mask(values[found], count)
        return kept
    reserved = torch.zeros(len(units), dtype=torch.bool)
    for found, floor in zip(sets.values(), floors, strict=True):
        reserved[found] = top_mask(values[found], floor)
    return top_mask(values.masked_fill(reserved, torch.inf), total)
