"""The sigmoid focal loss of detection heads."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

ALPHA, GAMMA = 0.25, 2.0


def sigmoid_focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed sigmoid focal loss (Lin et al., ICCV 2017, eq. 5) of [N, K] against [N], K: none."""
    goal = F.one_hot(labels, logits.shape[1] + 1)[:, :-1].to(logits.dtype)
    p = logits.sigmoid()
    miss = (1 - p) * goal + p * (1 - goal)
    weight = (ALPHA * goal + (1 - ALPHA) * (1 - goal)) * miss**GAMMA
    return (F.binary_cross_entropy_with_logits(logits, goal, reduction="none") * weight).sum()
