"""SNIP: connection sensitivity (Lee et al., ICLR 2019, eq. 4-5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss, sum_gradients
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class SNIP(CriterionBase):
    """|w dL/dw| over its sum over all prunable weights; gradients of the batches are summed before
    the absolute value; the model is in eval mode.
    """

    name: Literal["snip"] = "snip"

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights = prunable_weights(model)
        with scoring_mode(model, weights, weights_too=False):
            gradients = sum_gradients(model, weights, batches, loss)
        return {"sensitivity": {n: (w.detach() * gradients[n]).abs() for n, w in weights.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        sensitivity = statistics["sensitivity"]
        total = torch.stack([s.sum() for s in sensitivity.values()]).sum()
        shares = {name: s / total for name, s in sensitivity.items()}
        return ImportanceScores(shares, channels="sum")
