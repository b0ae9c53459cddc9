"""Importance scores: one tensor per weight, keyed by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImportanceScores:
    """by_weight[name] is shaped like the weight; the highest scores are kept.

    channels: what a channel is worth. "sum" of its weights' scores, where these are shares of the
    loss; their "mean", where they are sizes or ranks; "filter": each weight carries the score of
    its whole filter (structured criteria), and those of a channel's filters add.
    """

    by_weight: Mapping[str, Tensor]
    channels: Literal["mean", "sum", "filter"] = "mean"

    def __post_init__(self) -> None:
        for name, score in self.by_weight.items():
            if not torch.isfinite(score).all():
                raise ArithmeticError(f"scores: {name} has values that are not finite")
