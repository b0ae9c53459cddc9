"""The least cost of an allocation, by hand and against masks of any scores."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from sparsefront.pruning.allocation import Rule, SparsityAllocation
from sparsefront.pruning.cost import profile
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.least_cost import least_cost
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


def model() -> nn.Module:
    """On an 8 x 8 input: 36 weights used 64 times each, 72 used 16 times, 8 used 16 times."""
    layers = OrderedDict(
        a=nn.Conv2d(2, 2, 3, padding=1), b=nn.Conv2d(2, 4, 3, stride=2, padding=1),
        c=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    return nn.Sequential(OrderedDict(m=nn.Sequential(layers))).eval()


def test_least_cost_prunes_the_most_used_weights() -> None:
    """29 of 116 weights go, all of those used 64 times; uniform: a quarter of each layer."""
    net = model()
    groups = ModalityGroups.from_model(net)
    uses = profile(net, [torch.randn(1, 2, 8, 8)], groups=groups)
    allocation = SparsityAllocation(per_modality={"m": 0.25})
    cost = least_cost(uses, allocation, groups, net)
    assert cost.macs == 16 * 80 + 64 * 7
    each = SparsityAllocation(per_modality={"m": 0.25}, rule="uniform")
    assert least_cost(uses, each, groups, net).macs == 64 * 27 + 16 * (54 + 6)


@pytest.mark.parametrize("rule", ["global", "uniform", "erk", "lamp"])
def test_no_mask_costs_less(rule: Rule) -> None:
    net = model()
    groups = ModalityGroups.from_model(net)
    uses = profile(net, [torch.randn(1, 2, 8, 8)], groups=groups)
    allocation = SparsityAllocation(per_modality={"m": 0.6}, rule=rule)
    least = least_cost(uses, allocation, groups, net)
    for seed in range(20):
        torch.manual_seed(seed)
        scores = {n: torch.rand(w.shape) for n, w in prunable_weights(net).items()}
        mask = PruningMask.from_scores(ImportanceScores(scores), allocation, groups, net)
        cost = uses.cost(mask)
        assert cost.macs >= least.macs and cost.nonzeros == least.nonzeros
