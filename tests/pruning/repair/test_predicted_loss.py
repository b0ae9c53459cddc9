"""Predicted losses of repaired cuts, by hand in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares, refitted
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.predicted_loss import predicted_loss, repaired_products
from tests.helpers.one_layer import linear


def squared(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    loss: Tensor = (model(x) - y).square().sum() / 2
    return loss


def test_products_are_gradients_times_changes() -> None:
    """One row w = (1, 2) and X = ((1, 1), (0, 1)), so H X^T X = ((1, 1), (1, 2)). Without the first
    weight the second becomes (H w)_2 / H_22 = 2.5; without the second the first becomes 3.
    """
    model = linear([1.0, 2.0])
    x = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()
    moments = second_moments(model, [x], all_positions=True)
    levels = [{"weight": torch.tensor([[False, True]])}, {"weight": torch.tensor([[True, False]])}]
    batches = [(x[:1], torch.zeros(1, 1).double()), (x[1:], torch.zeros(1, 1).double())]
    found = repaired_products(model, {"all": levels}, moments, batches, squared, damping=0.0)
    # gradients (w x) x: (3, 3) and (0, 2); changes (-1, 0.5) and (2, -2)
    np.testing.assert_allclose(found["all"], [[-1.5, 0.0], [1.0, -4.0]], atol=1e-12)
    np.testing.assert_allclose(predicted_loss(found), [(2.25 + 1) / 4, 16 / 4])


def test_groups_add_before_they_are_squared() -> None:
    """What two groups undo together costs nothing; what both lose costs more than twice."""
    camera, lidar = np.array([[1.0, 1.0]]), np.array([[-1.0, 1.0]])
    np.testing.assert_allclose(predicted_loss({"camera": camera, "lidar": lidar}), [0.0, 2.0])
    np.testing.assert_allclose(predicted_loss({"camera": camera}), [0.5, 0.5])


def test_changes_are_those_of_the_repair_itself() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x = torch.randn(30, 5).double()
    moments = second_moments(model, [x])
    kept = {n: torch.rand(p.shape) > 0.5 for n, p in model.named_parameters() if p.ndim > 1}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    changes = refitted(model, kept, moments)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    refit_least_squares(model, PruningMask(kept), moments)
    for name, change in changes.items():
        torch.testing.assert_close(before[name] + change, dict(model.named_parameters())[name])


def test_no_frames_are_an_error() -> None:
    with pytest.raises(InputError, match="batches: none given"):
        repaired_products(linear([1.0]), {}, {}, [], squared, 0.0)
