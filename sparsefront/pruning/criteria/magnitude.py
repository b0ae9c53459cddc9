"""Magnitude: the absolute value of each weight (Han et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class Magnitude(CriterionBase):
    """|w|. Uses no batches and no loss."""

    uses_batches: ClassVar[bool] = False

    name: Literal["magnitude"] = "magnitude"

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights = prunable_weights(model)
        return {"magnitude": {name: w.detach().abs() for name, w in weights.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["magnitude"])
