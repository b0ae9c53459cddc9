"""A single layer whose scores can be worked out by hand, in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.pruning.groups import ModalityGroups

GROUPS = ModalityGroups({"all": ("weight", "0", "2", "4")})


def linear(*rows: list[float]) -> nn.Linear:
    """A linear layer with these rows."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def scores(criterion: Any, model: nn.Module, batches: list[Any], loss: Any) -> Tensor:
    """The criterion's scores of a layer's weight."""
    found: Tensor = criterion.scores(model, GROUPS, batches, loss).by_weight["weight"]
    return found


def quadratic(model: nn.Module, a: Tensor) -> Tensor:
    """L = w A w / 2 for the row w of a linear layer."""
    w = model.weight
    return (w @ a @ w.T).sum() / 2  # type: ignore[operator, union-attr]
