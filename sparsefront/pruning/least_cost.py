"""The least that any mask of an allocation can cost: known where the mask itself is not yet."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.cost import CostProfile, ModelCost
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


def least_cost(
    profile: CostProfile, allocation: SparsityAllocation, groups: ModalityGroups, model: nn.Module
) -> ModelCost:
    """Cost of the mask that keeps each sparsity group's least used weights. Every mask of the
    allocation has as many non-zeros, and none has fewer MACs.
    """
    if allocation.rule == "lamp":  # its counts per layer depend on the weights
        allocation = replace(allocation, rule="global")
    cheap = {
        name: -profile.layers[name].uses.expand(weight.shape)
        for name, weight in prunable_weights(model).items()
    }
    return profile.cost(PruningMask.from_scores(ImportanceScores(cheap), allocation, groups, model))
