"""GraSP: gradient signal preservation (Wang et al., ICLR 2020, eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss, finite_loss, sum_gradients
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.sparse_autograd import plain_sparse_layers
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class GraSP(CriterionBase):
    """w (H g), kept highest first: the paper's S = -w H g marks what to remove with its highest.

    g is the gradient summed over the batches; H g by double backward of each batch against that g,
    summed. The paper's temperature (200 on the logits) belongs in the loss that is given.
    """

    name: Literal["grasp"] = "grasp"

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        weights = prunable_weights(model)
        with scoring_mode(model, weights, weights_too=False), plain_sparse_layers(model):
            slope = sum_gradients(model, weights, batches, loss)
            total = {name: torch.zeros_like(w) for name, w in weights.items()}
            for batch in batches:
                for name, product in _hessian_product(model, weights, batch, loss, slope).items():
                    total[name] += product
        return {"flow": {name: w.detach() * total[name] for name, w in weights.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["flow"], channels="sum")


def _hessian_product(
    model: nn.Module,
    weights: dict[str, nn.Parameter],
    batch: Any,
    loss: Loss,
    vector: dict[str, Tensor],
) -> dict[str, Tensor]:
    """H v of one batch, by weight name: the gradient of g . v."""
    with torch.enable_grad():
        value = finite_loss(model, batch, loss)
        slopes = torch.autograd.grad(
            value, list(weights.values()), create_graph=True, allow_unused=True
        )
        seen = [(s, vector[n]) for n, s in zip(weights, slopes, strict=True) if s is not None]
        along = torch.stack([(slope * v).sum() for slope, v in seen]).sum()
        found = torch.autograd.grad(along, list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(weight) if product is None else product.detach()
        for (name, weight), product in zip(weights.items(), found, strict=True)
    }
