"""Importance scores: one tensor per weight, keyed by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImportanceScores:
    """by_weight[name] is shaped like the weight; the highest scores are kept.

    by_filter: each weight carries the score of its whole filter (structured criteria), so a channel
    is worth that score; otherwise it is worth the sum over its weights.
    """

    by_weight: Mapping[str, Tensor]
    by_filter: bool = False

    def __post_init__(self) -> None:
        for name, score in self.by_weight.items():
            if not torch.isfinite(score).all():
                raise ArithmeticError(f"scores: {name} has values that are not finite")
