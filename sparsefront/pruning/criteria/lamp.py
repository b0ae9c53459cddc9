"""LAMP: layer-adaptive magnitude (Lee et al., ICLR 2021, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.layerwise import normalise_as_lamp
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class LAMP(CriterionBase):
    """w_u^2 over the sum of the squares of the layer's weights at least as large; the largest
    weight of every layer scores 1. Made for one global threshold. Uses no batches and no loss.
    """

    uses_batches: ClassVar[bool] = False

    name: Literal["lamp"] = "lamp"

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights = prunable_weights(model)
        return {"lamp": {name: normalise_as_lamp(w.detach().abs()) for name, w in weights.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["lamp"])
