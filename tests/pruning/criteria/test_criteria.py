"""Magnitude and SNIP by hand; what every criterion must do, on a small net and on the model."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria import IMP, SNIP, AlterMOMA, Criterion, Magnitude, ProsPr, SynFlow
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.weights import prunable_weights

CRITERIA: list[Criterion] = [Magnitude(), SNIP(), AlterMOMA()]


class Net(nn.Module):
    """Two branches with convolution, norm and dropout, joined by attention and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.camera = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2)
        )
        self.lidar = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 8))
        self.fusion = nn.ModuleDict(
            {"attention": nn.MultiheadAttention(8, 2, batch_first=True), "head": nn.Linear(8, 1)}
        )

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        image, points = batch
        camera = self.camera(image).flatten(2)[..., :16].reshape(len(image), -1, 8)
        tokens = torch.cat([camera, self.lidar(points)], dim=1)
        mixed, _ = self.fusion["attention"](tokens, tokens, tokens)
        out: Tensor = self.fusion["head"](mixed.mean(1))
        return out


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return model(batch).square().mean()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(2, 1, 6, 6), torch.randn(2, 3, 6)) for _ in range(2)]


def test_snip_by_hand() -> None:
    """y = w1 x1 + w2 x2, w = (2, -1), L = y. Batches x = (1, 3) and (2, -1): the gradients' sum is
    (3, 2); |w g| = (6, 2); scores 6/8 and 2/8.
    """
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0]]))
    batches = [torch.tensor([[1.0, 3.0]]).double(), torch.tensor([[2.0, -1.0]]).double()]
    groups = ModalityGroups({"all": ("weight",)})
    scores = SNIP().scores(model, groups, batches, lambda m, b: m(b).sum()).by_weight
    assert scores["weight"].tolist() == [[0.75, 0.25]]
    sizes = Magnitude().scores(model, groups, [], lambda m, b: m(b).sum()).by_weight
    assert sizes["weight"].tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_scores_are_finite_repeatable_and_leave_the_model(
    criterion: Criterion, batches: list[Any]
) -> None:
    """Finite scores for every prunable weight, twice the same; the model as it was before."""
    model = Net().train()
    model.lidar[2].eval()
    model.lidar[0].weight.requires_grad_(False)
    model.camera[0].weight.grad = torch.ones_like(model.camera[0].weight)
    groups = ModalityGroups.from_model(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    modes = [m.training for m in model.modules()]

    first = criterion.scores(model, groups, batches, loss).by_weight
    second = criterion.scores(model, groups, batches, loss).by_weight

    weights = prunable_weights(model)
    assert list(first) == list(weights)
    for name, score in first.items():
        assert score.shape == weights[name].shape
        assert score.dtype == weights[name].dtype
        assert torch.isfinite(score).all()
        assert torch.equal(score, second[name])
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert states[2] == np.random.get_state()[1].tolist()
    assert modes == [m.training for m in model.modules()]
    assert not model.lidar[0].weight.requires_grad
    assert torch.equal(model.camera[0].weight.grad, torch.ones_like(model.camera[0].weight))
    assert all(p.grad is None for n, p in model.named_parameters() if n != "camera.0.weight")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("criterion", [SNIP(), AlterMOMA()], ids=lambda c: c.name)
def test_wrong_input_raises_and_leaves_the_model(criterion: Criterion, batches: list[Any]) -> None:
    model = Net()
    groups = ModalityGroups.from_model(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match="batches"):
        criterion.scores(model, groups, [], loss)
    with pytest.raises(ArithmeticError, match="not finite"):
        criterion.scores(model, groups, batches, lambda m, b: loss(m, b) * float("nan"))
    with pytest.raises(InputError, match="is in no group"):
        ModalityGroups({"c": ("c",)}).assign(before)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SynFlow(num_iterations=0), "num_iterations"),
        (lambda: SynFlow(sparsity=1.0), "sparsity"),
        (lambda: ProsPr(num_steps=-1), "num_steps"),
        (lambda: IMP(rate=0.0), "rate"),
        (lambda: IMP(steps=-1), "steps"),
    ],
)
def test_wrong_options_are_named(make: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        make()
