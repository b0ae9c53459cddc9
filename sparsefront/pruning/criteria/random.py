"""Random scores: the floor that every criterion must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class Random(CriterionBase):
    """Uniform in [0, 1), by `seed`; torch's global generator is not touched."""

    uses_batches: ClassVar[bool] = False

    name: Literal["random"] = "random"
    seed: int = 0

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        return {
            "uniform": {
                name: torch.rand(w.shape, generator=generator, dtype=w.dtype).to(w.device)
                for name, w in prunable_weights(model).items()
            }
        }

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["uniform"])
