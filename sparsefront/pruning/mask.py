"""Pruning masks: which weights stay, held at zero through training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation, SparsityGroup
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.layerwise import apportion, erk_shares, normalise_as_lamp, uniform_shares
from sparsefront.pruning.nm_pattern import input_axis, nm_mask, parse_pattern
from sparsefront.pruning.scores import ImportanceScores


@dataclass(frozen=True)
class PruningMask:
    """by_weight[name] is a bool tensor shaped like the weight: True is kept.

    Where whole channels go: `tied` is the same for biases and norms, which count in no sparsity;
    `channels` is what is left (tensor name -> axis -> positions), for channels.removal.shrink.
    """

    by_weight: Mapping[str, Tensor]
    tied: Mapping[str, Tensor] = field(default_factory=dict)
    channels: Mapping[str, Mapping[int, list[int]]] = field(default_factory=dict)

    @staticmethod
    def from_scores(
        scores: ImportanceScores,
        allocation: SparsityAllocation,
        groups: ModalityGroups,
        model: nn.Module | None = None,
    ) -> PruningMask:
        """Keeps exactly round((1 - sparsity) N) of the N weights of each sparsity group: highest
        scores first, ties by position. InputError where the allocation does not fit the weights.

        model: for N:M patterns, which need to know each layer's input dimension. Channels need
        a graph: channels.select.channel_mask.
        """
        if allocation.pattern == "channel":
            raise InputError("pattern: value 'channel'; allowed here: unstructured or N:M")
        weights = groups.assign(scores.by_weight)
        kept: dict[str, Tensor] = {}
        for group in allocation.sparsity_groups(weights):
            if allocation.pattern == "unstructured":
                kept.update(_keep(scores.by_weight, group, allocation))
            else:
                kept.update(_keep_nm(scores.by_weight, group, allocation.pattern, model))
        return PruningMask({name: kept[name] for name in scores.by_weight})

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Sets pruned weights to zero, in place."""
        for weight, kept in self._pairs(model):
            weight.masked_fill_(~kept, 0)

    @contextmanager
    def hold(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """While open, pruned weights, their gradients and their optimizer state stay zero.

        Gradients are masked as they arrive, so that gradient clipping sees only kept weights.
        """
        pairs = list(self._pairs(model))
        handles = [weight.register_hook(_gradient_hook(kept)) for weight, kept in pairs]

        @torch.no_grad()
        def after_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
            for weight, kept in pairs:
                weight.masked_fill_(~kept, 0)
                for value in optimizer.state.get(weight, {}).values():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        value.masked_fill_(~kept, 0)

        handles.append(optimizer.register_step_post_hook(after_step))
        self.apply(model)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def check(self, model: nn.Module) -> None:
        """AssertionError unless every pruned weight of the model is exactly zero."""
        names = (*self.by_weight, *self.tied)
        for name, (weight, kept) in zip(names, self._pairs(model), strict=True):
            alive = int(torch.count_nonzero(weight.detach()[~kept]))
            assert alive == 0, f"{name}: {alive} pruned weights are not zero"

    def sparsity_by_group(self, groups: ModalityGroups) -> dict[str, float]:
        """Fraction removed of each group's prunable weights."""
        by_group = groups.assign(self.by_weight)
        return {group: self._sparsity(names) for group, names in by_group.items() if names}

    def sparsity_by_layer(self) -> dict[str, float]:
        """Fraction removed of each weight tensor."""
        return {name: self._sparsity((name,)) for name in self.by_weight}

    def sparsity(self) -> float:
        """Fraction removed of all prunable weights; 0 where there are none."""
        return self._sparsity(tuple(self.by_weight)) if self.by_weight else 0.0

    def _sparsity(self, names: tuple[str, ...]) -> float:
        total = sum(self.by_weight[name].numel() for name in names)
        kept = sum(int(self.by_weight[name].sum()) for name in names)
        return 1 - kept / total

    def _pairs(self, model: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
        parameters = dict(model.named_parameters())
        for name, kept in (*self.by_weight.items(), *self.tied.items()):
            weight = parameters.get(name)
            if weight is None or weight.shape != kept.shape:
                there = "no such weight" if weight is None else f"shape {list(weight.shape)}"
                raise InputError(f"mask: {name} is {list(kept.shape)}; the model has {there}")
            yield weight, kept.to(weight.device)


def _keep(
    scores: Mapping[str, Tensor], group: SparsityGroup, allocation: SparsityAllocation
) -> dict[str, Tensor]:
    """Masks of one sparsity group's weights, spread over its layers by the allocation's rule."""
    flat = {name: scores[name].detach().flatten() for name in group.names}
    if allocation.rule == "lamp" and group.sparsity > 0:
        flat = {name: normalise_as_lamp(values) for name, values in flat.items()}
    sizes = [len(values) for values in flat.values()]
    total = round((1 - group.sparsity) * sum(sizes))
    floors = [min(allocation.min_keep, size) for size in sizes]
    if sum(floors) > total:
        raise InputError(
            f"allocation of {group.label}: sparsity {group.sparsity!r} keeps {total} of "
            f"{sum(sizes)} weights; min_keep {allocation.min_keep} needs {sum(floors)}"
        )
    shapes = [tuple(scores[name].shape) for name in group.names]
    if allocation.rule in ("uniform", "erk"):
        spread = uniform_shares if allocation.rule == "uniform" else erk_shares
        counts = apportion(spread(shapes, total), total, floors, sizes)
        parts = [
            top_mask(values, count) for values, count in zip(flat.values(), counts, strict=True)
        ]
    else:
        raised = [
            values.masked_fill(top_mask(values, floor), torch.inf)
            for values, floor in zip(flat.values(), floors, strict=True)
        ]
        parts = top_masks(raised, total)
    kept = sum(int(part.sum()) for part in parts)
    assert kept == total, f"allocation of {group.label}: {kept} weights stay, expected {total}"
    return {n: p.reshape(shape) for n, p, shape in zip(group.names, parts, shapes, strict=True)}


def _keep_nm(
    scores: Mapping[str, Tensor], group: SparsityGroup, pattern: str, model: nn.Module | None
) -> dict[str, Tensor]:
    if group.sparsity == 0:
        return {name: torch.ones_like(scores[name], dtype=torch.bool) for name in group.names}
    if model is None:
        raise InputError(f"pattern: value {pattern!r} needs the model, for the layers' layouts")
    kept, block = parse_pattern(pattern)
    return {
        name: nm_mask(scores[name].detach(), kept, block, input_axis(model, name), name)
        for name in group.names
    }


def top_mask(values: Tensor, count: int) -> Tensor:
    """Bool mask [N] of the `count` highest values; of equal ones those that come first."""
    return top_masks([values], count)[0]


def top_masks(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """Bool masks of the `count` highest values of all tensors together; of equal ones those that
    come first. It needs the memory of one copy of the values.
    """
    total = sum(values.numel() for values in tensors)
    if count == 0:
        return [torch.zeros_like(values, dtype=torch.bool) for values in tensors]
    flat = torch.cat([values.flatten() for values in tensors])
    if flat.device.type == "cpu":
        array = flat.numpy()
        array.partition(total - count)
        threshold = flat[total - count].clone()
    else:
        threshold = flat.sort().values[total - count].clone()  # kthvalue runs on one block
    del flat
    masks = [values > threshold for values in tensors]
    room = count - sum(int(mask.sum()) for mask in masks)
    for values, mask in zip(tensors, masks, strict=True):
        if room > 0:
            level = (values == threshold).flatten().nonzero().flatten()[:room]
            mask.view(-1)[level] = True
            room -= len(level)
    return masks


def _gradient_hook(kept: Tensor):  # type: ignore[no-untyped-def]
    def mask_gradient(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(~kept, 0)

    return mask_gradient
