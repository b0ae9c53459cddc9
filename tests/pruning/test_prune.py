"""The public entry, on anybody's model."""

from __future__ import annotations

import torch
from torch import nn

from pruning.allocation import SparsityAllocation
from pruning.criteria import Magnitude
from pruning.groups import ModalityGroups
from pruning.prune import prune


def test_prune_zeroes_the_smallest() -> None:
    model = nn.ModuleDict({"camera": nn.Linear(4, 2, bias=False), "lidar": nn.Linear(2, 1)})
    with torch.no_grad():
        model["camera"].weight.copy_(torch.arange(1.0, 9.0).view(2, 4))
    mask = prune(
        model, Magnitude(), SparsityAllocation(per_modality={"camera": 0.5}), [], lambda m, b: m(b)
    )
    assert model["camera"].weight.tolist() == [[0, 0, 0, 0], [5, 6, 7, 8]]
    assert mask.achieved(ModalityGroups.from_model(model)) == {"camera": 0.5, "lidar": 0.0}
