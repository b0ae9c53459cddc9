"""Magnitude between layers, Optimal Brain Surgeon inside of them.

How many weights a layer loses is what magnitude says; which ones is the order in which they cost
the layer's output least once the others are refitted (repair/elimination.py). For the repair by
least squares, which does that refit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.repair.elimination import elimination_losses
from sparsefront.pruning.repair.matrices import as_rows, from_rows
from sparsefront.pruning.repair.moments import owners, second_moments
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights

SIZE, COST = "magnitude", "elimination"


@dataclass(frozen=True, kw_only=True)
class OBS(CriterionBase):
    """The layer's magnitudes, sorted, dealt out in the order of elimination.

    most_columns  inputs x taps of a layer up to which the order is found, at outputs x columns^3
                  operations; larger layers keep magnitude's own order
    damping       lambda, a share of H's mean diagonal
    """

    name: Literal["obs"] = "obs"
    most_columns: int = 330
    damping: float = 0.01

    def __post_init__(self) -> None:
        if self.most_columns < 1:
            raise InputError(f"most_columns: value {self.most_columns!r}; allowed: 1 and above")
        if not self.damping > 0:
            raise InputError(f"damping: value {self.damping!r}; allowed: above 0")

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights, layers = prunable_weights(model), owners(model)
        moments = second_moments(model, batches, loss)
        magnitude = {name: weight.detach().abs() for name, weight in weights.items()}
        cost: dict[str, Tensor] = {}
        for name, weight in weights.items():
            small = name in moments and moments[name].shape[-1] <= self.most_columns
            own = magnitude[name]
            cost[name] = self._cost(layers[name], weight.detach(), moments[name]) if small else own
        return {SIZE: magnitude, COST: cost}

    def _cost(self, layer: nn.Module, weight: Tensor, moment: Tensor) -> Tensor:
        rows = as_rows(layer, weight)  # [groups, outputs, columns]
        found = [
            elimination_losses(own, moment[min(group, len(moment) - 1)], self.damping)
            for group, own in enumerate(rows)
        ]
        return from_rows(layer, torch.stack(found).to(weight.dtype), weight)

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        sizes, costs = statistics[SIZE], statistics[COST]
        return ImportanceScores({name: _dealt(sizes[name], costs[name]) for name in sizes})


def _dealt(sizes: Tensor, costs: Tensor) -> Tensor:
    """The values of `sizes` in the order of `costs`."""
    order = costs.flatten().argsort(stable=True)
    dealt = torch.empty_like(sizes).flatten()
    dealt[order] = sizes.flatten().sort().values
    return dealt.view_as(sizes)
