"""The one public entry: score, allocate, mask and prune anybody's torch model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pruning.allocation import SparsityAllocation
from pruning.criteria import Criterion
from pruning.gradients import Loss
from pruning.groups import ModalityGroups
from pruning.mask import PruningMask


def prune(
    model: nn.Module,
    criterion: Criterion,
    allocation: SparsityAllocation,
    batches: Sequence[Any],
    loss: Loss,
    groups: ModalityGroups | None = None,
) -> PruningMask:
    """Zeroes the least important weights of `model` in place; returns the mask, to hold while
    fine-tuning. Groups default to the first part of each weight's name.
    """
    groups = groups or ModalityGroups.from_model(model)
    scores = criterion.scores(model, groups, batches, loss)
    mask = PruningMask.from_scores(scores, allocation, groups, model)
    mask.apply(model)
    return mask
