"""Fisher pruning: the loss that a weight's removal costs, to second order.

1/2 h w^2 with the Hessian's diagonal (LeCun et al., Optimal Brain Damage, 1990), in whose place the
empirical Fisher information stands, the mean squared gradient (Theis et al., 2018).
"""

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
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class Fisher(CriterionBase):
    """1/2 mean over batches of (g w)^2: in units of the loss, so comparable between modalities."""

    name: Literal["fisher"] = "fisher"

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights = prunable_weights(model)

        def score(name: str, product: Tensor) -> Tensor:
            return product.square() / (2 * len(batches))

        with scoring_mode(model, weights, weights_too=False):
            return {"fisher": sum_over_batches(model, weights, batches, loss, score)}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["fisher"], channels="sum")
