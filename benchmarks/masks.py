"""Masks: seconds to make, apply and cost one, at the full-size model's 40 million weights."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.timing import seconds
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.cost import profile
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask


def speed() -> None:
    model = nn.Sequential(*[nn.Linear(2048, 2048, bias=False) for _ in range(10)])
    groups = ModalityGroups({"all": tuple(str(i) for i in range(10))})
    uses = profile(model, [torch.zeros(1, 2048)], groups=groups)
    scores = Magnitude().scores(model, groups, [], lambda m, b: m(b))
    half = SparsityAllocation(overall=0.5)

    def mask_and_cost() -> None:
        mask = PruningMask.from_scores(scores, half, groups)
        mask.apply(model)
        uses.cost(mask)

    print(f"masks      42 M weights: mask, apply and cost in {seconds(mask_and_cost):.2f} s")
