"""ADMM against a quadratic whose recursion and solution are known, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.crossprune import CrossPrune, admm, hard_prune
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.scores import ImportanceScores

NO_DISTORTION: dict[str, float] = {}
ONE_OF_TWO = SparsityAllocation(per_modality={"camera": 0.5})
CAMERA = ModalityGroups({"camera": ("camera",)})


class Weights(nn.Module):
    """Two weights w; the loss is half the squared distance to a target."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.camera = nn.Linear(len(values), 1, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.camera.weight.copy_(torch.tensor([values], dtype=torch.float64))


def loss(model: Any, batch: Tensor) -> Tensor:
    return (model.camera.weight - batch).square().sum() / 2


def no_features(model: Any, batch: Tensor) -> dict[str, Tensor]:
    return {}


def test_admm_recursion_by_hand() -> None:
    """L = |w - (3, 1)|^2 / 2 from w = (3, 1), rho = 1, one SGD step of 1/2 a round, one of two
    weights stays. The step is w - 1/2 ((w - a) + (w - z + u)) = (a + z - u) / 2.

    round 1: z0 = (3, 0), u0 = 0: w = (3, 1/2); w + u = (3, 1/2): z = (3, 0), u = (0, 1/2)
    round 2: w = (3, (1 + 0 - 1/2) / 2) = (3, 1/4); w + u = (3, 3/4): z = (3, 0), u = (0, 3/4)
    """
    model = Weights(3.0, 1.0)
    target = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    options = CrossPrune(
        lambdas=NO_DISTORTION, rho=1.0, num_rounds=2, steps=1, lr=0.5, optimizer="sgd"
    )
    rounds = list(admm(model, CAMERA, ONE_OF_TWO, [target], loss, no_features, options))
    name = "camera.weight"
    assert [r.W[name].tolist() for r in rounds] == [[[3.0, 0.5]], [[3.0, 0.25]]]
    assert [r.Z[name].tolist() for r in rounds] == [[[3.0, 0.0]], [[3.0, 0.0]]]
    assert [r.U[name].tolist() for r in rounds] == [[[0.0, 0.5]], [[0.0, 0.75]]]
    assert [r.primal for r in rounds] == [0.5, 0.25]
    assert [r.dual for r in rounds] == [0.0, 0.0]
    assert model.camera.weight.tolist() == [[3.0, 0.25]]


def test_admm_reaches_the_known_solution_and_stops() -> None:
    """The best w with one non-zero is (3, 0). From a start at (0, 1) the support moves there, U
    ends at -dL/dw / rho = (0, 1), and the rounds stop by themselves.
    """
    model = Weights(0.0, 1.0)
    target = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    options = CrossPrune(
        lambdas=NO_DISTORTION, rho=1.0, num_rounds=200, steps=50, lr=0.3, optimizer="sgd",
        tolerance=1e-6,
    )  # fmt: skip
    rounds = list(admm(model, CAMERA, ONE_OF_TWO, [target], loss, no_features, options))
    assert len(rounds) < 60
    last = rounds[-1]
    assert last.Z["camera.weight"].tolist()[0] == pytest.approx([3.0, 0.0], abs=1e-5)
    assert last.U["camera.weight"].tolist()[0] == pytest.approx([0.0, 1.0], abs=1e-4)
    assert last.primal < 1e-5


def test_distortion_pulls_to_the_dense_features() -> None:
    """L = 0, F = w, dense w = (2, 1): lambda / |F|^2 = 5 / 5 = 1, so the distortion's gradient is
    2 (w - dense). rho 0. One step of 1/4 from dense stays there; the distortion is 0. From z's
    pull with rho = 2, z0 = (2, 0): round 1 step 1 has gradient 2 (w - z) = (0, 2): w = (2, 1/2);
    step 2: 2 (w - dense) + 2 (w - z) = (0, -1 + 1) = 0, so w stays.
    """
    model = Weights(2.0, 1.0)
    options = CrossPrune(
        lambdas={"camera": 5.0}, rho=2.0, num_rounds=1, steps=2, lr=0.25, optimizer="sgd"
    )

    def features(model: Any, batch: Tensor) -> dict[str, Tensor]:
        return {"camera": model.camera.weight * 1.0}

    def nothing(model: Any, batch: Tensor) -> Tensor:
        return model.camera.weight.sum() * 0

    (only,) = admm(model, CAMERA, ONE_OF_TWO, [torch.zeros(1)], nothing, features, options)
    assert only.W["camera.weight"].tolist() == [[2.0, 0.5]]
    assert only.distortion == {"camera": 0.05}  # 0.5^2 / 5, before the second step


def test_warm_start_sets_the_first_support() -> None:
    """Scores (0, 1) start Z at (0, 1); rho 1000 and tiny steps cannot move it back at once."""
    model = Weights(3.0, 1.0)
    target = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    options = CrossPrune(
        lambdas=NO_DISTORTION, rho=1.0, num_rounds=1, steps=1, lr=1.0, optimizer="sgd"
    )
    scores = ImportanceScores({"camera.weight": torch.tensor([[0.0, 1.0]]).double()})
    (only,) = admm(model, CAMERA, ONE_OF_TWO, [target], loss, no_features, options, scores=scores)
    assert only.W["camera.weight"].tolist() == [[0.0, 1.0]]  # (3, 1) - ((0, 0) + (3, 0))


def test_hard_prune_keeps_the_last_support() -> None:
    model = Weights(3.0, 1.0)
    target = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    model.train()
    options = CrossPrune(lambdas={}, num_rounds=3)
    rounds = admm(model, CAMERA, ONE_OF_TWO, [target], loss, no_features, options)
    mask, log = hard_prune(model, rounds)
    mask.check(model)
    assert mask.by_weight["camera.weight"].tolist() == [[True, False]]
    assert len(log) == 3
    assert set(log[0]) == {"primal", "dual", "loss"}
    assert model.training
    assert model.camera.weight.grad is None


def test_wrong_input_raises_and_leaves_the_model() -> None:
    model = Weights(3.0, 1.0)
    batch = torch.ones(1, 2, dtype=torch.float64)
    wrong: list[tuple[CrossPrune, str]] = [
        (CrossPrune(lambdas={"radar": 1.0}), r"lambdas\.radar"),
        (CrossPrune(lambdas={}, rho={"radar": 1.0}), "rho: groups"),
    ]
    for options, named in wrong:
        with pytest.raises(InputError, match=named):
            list(admm(model, CAMERA, ONE_OF_TWO, [batch], loss, no_features, options))
    with pytest.raises(InputError, match="batches"):
        list(admm(model, CAMERA, ONE_OF_TWO, [], loss, no_features))
    bad = [batch, batch * torch.nan]
    options = CrossPrune(lambdas={}, steps=2)
    with pytest.raises(ArithmeticError, match="not finite"):
        list(admm(model, CAMERA, ONE_OF_TWO, bad, loss, no_features, options))
    assert model.camera.weight.tolist() == [[3.0, 1.0]]
    with pytest.raises(InputError, match=r"rho\.all: value -1"):
        CrossPrune(rho=-1.0)


def test_every_group_keeps_its_exact_count() -> None:
    """Exact per-group counts after hard pruning, from any criterion's scores."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"camera": nn.Linear(6, 4), "lidar": nn.Linear(6, 4)})
    groups = ModalityGroups.from_model(model)
    allocation = SparsityAllocation(per_modality={"camera": 0.5, "lidar": 0.25})

    def maps(model: Any, batch: Tensor) -> dict[str, Tensor]:
        return {name: branch(batch) for name, branch in model.items()}

    def distance(model: Any, batch: Tensor) -> Tensor:
        return torch.stack([m.square().mean() for m in maps(model, batch).values()]).sum()

    batches = [torch.randn(3, 6) for _ in range(2)]
    scores = Magnitude().scores(model, groups, batches, distance)
    options = CrossPrune(lambdas={"camera": 0.5, "lidar": 2.0}, num_rounds=2)
    rounds = admm(model, groups, allocation, batches, distance, maps, options, scores=scores)
    mask, log = hard_prune(model, rounds)
    assert mask.sparsity_by_group(groups) == {"camera": 0.5, "lidar": 0.25}
    assert set(log[0]) == {"primal", "dual", "loss", "distortion.camera", "distortion.lidar"}
