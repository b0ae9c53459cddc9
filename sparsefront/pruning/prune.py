"""Prunes any torch model in one call: score, allocate, mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.select import channel_mask
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.criteria import Criterion
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.norms import reestimate_norms


def prune(
    model: nn.Module,
    criterion: Criterion,
    allocation: SparsityAllocation,
    batches: Sequence[Any],
    loss: Loss,
    groups: ModalityGroups | None = None,
    forward: Forward = call,
    *,
    repair: bool = False,
) -> PruningMask:
    """Zeroes the least important weights of `model` in place; returns the mask, to hold while
    fine-tuning. Groups default to the first part of each weight's name.

    With pattern "channel" whole channels go, found by running forward(model, batch) on the first
    batch; channels.removal.shrink(model, mask.channels) takes them out.

    repair: kept weights are refitted and batch norms measured again on the batches, so that each
    layer answers as before as nearly as it can (pruning/repair).
    InputError for what does not fit, ArithmeticError for a loss that is not finite; the model is
    then unchanged.
    """
    groups = groups or ModalityGroups.from_model(model)
    scores = criterion.scores(model, groups, batches, loss)
    if allocation.pattern == "channel":
        if len(batches) == 0:
            raise InputError("batches: none given; allowed: one, to follow the channels")
        graph = channel_graph(model, batches[0], forward)
        verify(model, batches[0], graph, forward)
        mask = channel_mask(scores, allocation, groups, graph, model)
    else:
        mask = PruningMask.from_scores(scores, allocation, groups, model)
    if not repair:
        mask.apply(model)
        return mask
    moments = second_moments(model, batches, forward)
    refit_least_squares(model, mask, moments)
    reestimate_norms(model, batches, forward)
    return mask
