"""The public entry, on anybody's model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.removal import shrink
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.prune import prune
from sparsefront.pruning.repair.norms import reestimate_norms


def test_prune_zeroes_the_smallest_weights() -> None:
    model = nn.ModuleDict({"camera": nn.Linear(4, 2, bias=False), "lidar": nn.Linear(2, 1)})
    with torch.no_grad():
        model["camera"].weight.copy_(torch.arange(1.0, 9.0).view(2, 4))
    mask = prune(
        model, Magnitude(), SparsityAllocation(per_modality={"camera": 0.5}), [], lambda m, b: m(b)
    )
    assert model["camera"].weight.tolist() == [[0, 0, 0, 0], [5, 6, 7, 8]]
    assert mask.sparsity_by_group(ModalityGroups.from_model(model)) == {"camera": 0.5, "lidar": 0.0}


def test_prune_removes_channels_of_any_model() -> None:
    """Two of four hidden channels go, the ones with the smaller weights, and leave the model."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1], [4, 4], [3, 3], [2, 2]]))  # type: ignore[operator]
    x = torch.randn(3, 2)
    groups = ModalityGroups({"all": ("0", "2")})
    half = SparsityAllocation(overall=0.5, pattern="channel")
    mask = prune(model, Magnitude(), half, [x], lambda m, b: m(b).sum(), groups)
    assert mask.by_weight["0.weight"].tolist() == [[False] * 2, [True] * 2, [True] * 2, [False] * 2]
    assert mask.by_weight["2.weight"].tolist() == [[False, True, True, False]]
    assert mask.tied["0.bias"].tolist() == [False, True, True, False]
    wanted = model(x)
    smaller = shrink(model, mask.channels)
    assert [tuple(p.shape) for p in smaller.parameters()] == [(2, 2), (2,), (1, 2), (1,)]
    assert torch.allclose(smaller(x), wanted)
    with pytest.raises(InputError, match="batches"):
        prune(model, Magnitude(), half, [], lambda m, b: m(b).sum(), groups)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "channel"])
def test_repaired_model_answers_more_nearly_as_before(pattern: str) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1),
    ).eval()  # fmt: skip
    mixed = torch.randn(4, 4)
    batches = [torch.einsum("bchw,cd->bdhw", torch.randn(4, 4, 9, 8), mixed) for _ in range(4)]
    reestimate_norms(dense, batches)
    groups = ModalityGroups({"all": ("0", "3", "6")})
    allocation = SparsityAllocation(overall=0.5, pattern=pattern)  # type: ignore[arg-type]
    errors = []
    for repair in (False, True):
        model = copy.deepcopy(dense)
        mask = prune(
            model, Magnitude(), allocation, batches, lambda m, b: m(b).sum(), groups, repair=repair
        )
        mask.check(model)
        with torch.no_grad():
            errors.append(sum(float((model(x) - dense(x)).square().sum()) for x in batches))
    assert errors[1] < 0.9 * errors[0]
