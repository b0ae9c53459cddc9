"""Pruning masks: which weights stay, held at zero through training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning.allocation import Budget, SparsityAllocation
from pruning.groups import ModalityGroups
from pruning.scores import ImportanceScores


@dataclass(frozen=True)
class PruningMask:
    """by_weight[name] is a bool tensor shaped like the weight: True is kept."""

    by_weight: Mapping[str, Tensor]

    @staticmethod
    def from_scores(
        scores: ImportanceScores, allocation: SparsityAllocation, groups: ModalityGroups
    ) -> PruningMask:
        """Keeps exactly round((1 - sparsity) N) of each budget's N weights: highest scores first,
        ties by position. ValueError where the allocation does not fit the weights.
        """
        weights = groups.assign(scores.by_weight)
        kept: dict[str, Tensor] = {}
        for budget in allocation.budgets(weights):
            kept.update(_keep(scores.by_weight, budget, allocation.min_keep))
        mask = PruningMask({name: kept[name] for name in scores.by_weight})
        return mask

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
        handles = [weight.register_hook(_masking(kept)) for weight, kept in pairs]

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
        for name, (weight, kept) in zip(self.by_weight, self._pairs(model), strict=True):
            alive = int(torch.count_nonzero(weight.detach()[~kept]))
            assert alive == 0, f"{name}: {alive} pruned weights are not zero"

    def achieved(self, groups: ModalityGroups) -> dict[str, float]:
        """Fraction removed of each group's prunable weights."""
        by_group = groups.assign(self.by_weight)
        return {group: self._sparsity(names) for group, names in by_group.items() if names}

    def by_layer_sparsity(self) -> dict[str, float]:
        """Fraction removed of each weight tensor."""
        return {name: self._sparsity((name,)) for name in self.by_weight}

    def sparsity(self) -> float:
        """Fraction removed of all prunable weights."""
        return self._sparsity(tuple(self.by_weight))

    def _sparsity(self, names: tuple[str, ...]) -> float:
        total = sum(self.by_weight[name].numel() for name in names)
        kept = sum(int(self.by_weight[name].sum()) for name in names)
        return 1 - kept / total

    def _pairs(self, model: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
        parameters = dict(model.named_parameters())
        for name, kept in self.by_weight.items():
            weight = parameters.get(name)
            if weight is None or weight.shape != kept.shape:
                there = "no such weight" if weight is None else f"shape {list(weight.shape)}"
                raise ValueError(f"mask: {name} is {list(kept.shape)}; the model has {there}")
            yield weight, kept.to(weight.device)


def _keep(scores: Mapping[str, Tensor], budget: Budget, min_keep: int) -> dict[str, Tensor]:
    """Masks of one budget's weights."""
    flat = [scores[name].detach().flatten() for name in budget.names]
    sizes = [len(s) for s in flat]
    total = sum(sizes)
    count = round((1 - budget.sparsity) * total)
    floor = [min(min_keep, size) for size in sizes]
    if sum(floor) > count:
        raise ValueError(
            f"allocation of {budget.label}: sparsity {budget.sparsity!r} keeps {count} of {total} "
            f"weights; min_keep {min_keep} needs {sum(floor)}"
        )
    reserved = torch.cat([top(s, k) for s, k in zip(flat, floor, strict=True)])
    joined = torch.cat(flat).masked_fill(reserved, torch.inf)
    kept = top(joined, count)
    assert int(kept.sum()) == count
    parts = kept.split(sizes)
    return {n: part.reshape(scores[n].shape) for n, part in zip(budget.names, parts, strict=True)}


def top(values: Tensor, count: int) -> Tensor:
    """Bool mask [N] of the `count` highest values; of equal ones those that come first."""
    if count == 0:
        return torch.zeros(len(values), dtype=torch.bool, device=values.device)
    threshold = torch.kthvalue(values, len(values) - count + 1).values
    above = values > threshold
    level = values == threshold
    room = count - above.sum()
    return above | (level & (level.cumsum(0) <= room))


def _masking(kept: Tensor):  # type: ignore[no-untyped-def]
    def mask_gradient(gradient: Tensor) -> Tensor:
        return gradient.masked_fill(~kept, 0)

    return mask_gradient
