"""Taylor importance of filters (Molchanov et al., CVPR 2019, eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss, sum_over_batches
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import filter_axis, prunable_weights


@dataclass(frozen=True, kw_only=True)
class Taylor(CriterionBase):
    """Per filter, summed over the batches; every weight of a filter gets its filter's score.

    form  "gate": (sum of g w over the filter)^2, the filter's gate; "independent": sum of (g w)^2
    """

    name: Literal["taylor"] = "taylor"
    form: Literal["gate", "independent"] = "gate"

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights = prunable_weights(model)
        axes = {name: filter_axis(model, name) for name in weights}

        def score(name: str, product: Tensor) -> Tensor:
            return self._filters(product, axes[name])

        with scoring_mode(model, weights, weights_too=False):
            total = sum_over_batches(model, weights, batches, loss, score)
        return {"taylor": {n: total[n].expand_as(w).clone() for n, w in weights.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["taylor"], channels="filter")

    def _filters(self, product: Tensor, axis: int) -> Tensor:
        """One value a filter, broadcastable to the weight."""
        others = [a for a in range(product.ndim) if a != axis]
        if self.form == "gate":
            return product.sum(dim=others, keepdim=True).square()
        return product.square().sum(dim=others, keepdim=True)
