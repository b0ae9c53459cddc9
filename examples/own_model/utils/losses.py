"""The loss of the training script."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def loss_of(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Cross entropy of the kind and the distance's absolute error, in units of 10 m."""
    scores, distance = model(batch["image"], batch["radar"])
    wanted = batch["label"]
    return F.cross_entropy(scores, wanted["kind"]) + 0.1 * F.l1_loss(distance, wanted["distance_m"])
