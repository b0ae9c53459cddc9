"""Predicted losses of repaired cuts, by hand in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.lidar.sparse_conv import NATIVE, spconv
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares, refitted
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.predicted_loss import repaired_losses
from sparsefront.pruning.repair.weighted_moments import loss_of_changes, weighted_moments
from tests.helpers.one_layer import linear


def half_square(model: nn.Module, x: Tensor) -> Tensor:
    loss: Tensor = model(x).square().sum() / 2
    return loss


def test_positions_count_by_their_gradient() -> None:
    """Outputs y = w x, loss y^2 / 2, so g = y: with w = (1, 2) and inputs (1, 1) and (0, 1) the
    gradients are 3 and 2, and G = 9 (1, 1)(1, 1)^T + 4 (0, 1)(0, 1)^T.
    """
    model = linear([1.0, 2.0])
    x = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()
    found = weighted_moments(model, [x], half_square)["weight"][0]
    torch.testing.assert_close(found, torch.tensor([[9.0, 9.0], [9.0, 13.0]]).double())
    # changes d = (-1, 0.5): 1/2 d^T G d = (9 - 9 + 3.25) / 2
    change = {"weight": torch.tensor([[-1.0, 0.5]]).double()}
    assert loss_of_changes(model, change, {"weight": found[None]}) == pytest.approx(1.625)


def test_weights_are_a_mean_over_outputs_and_frames() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 1)
    ).double()  # fmt: skip
    frames = [torch.randn(1, 2, 5, 6).double() for _ in range(3)]
    found = weighted_moments(model, frames, half_square)
    wanted = torch.zeros(4, 4).double()
    for x in frames:
        hidden = model[:2](x).detach().movedim(1, -1).flatten(0, 2)
        gradient = model(x).detach().movedim(1, -1).flatten(0, 2)  # of its own square
        each = gradient.square().mean(1)
        wanted += (hidden * each[:, None]).T @ hidden / len(frames)
    torch.testing.assert_close(found["2.weight"][0], wanted)
    assert found["0.weight"].shape == (2, 9, 9)
    assert all(p.grad is None for p in model.parameters())


def test_sparse_layers_are_weighted_site_by_site() -> None:
    torch.manual_seed(0)
    layer = spconv.SubMConv3d(2, 3, 3, bias=False, algo=NATIVE)
    sites = (torch.rand(1, 4, 5, 6) < 0.4).nonzero().int().contiguous()
    features = torch.randn(len(sites), 2)

    def loss(model: Any, given: Tensor) -> Tensor:
        x = spconv.SparseConvTensor(given, sites, [4, 5, 6], 1)
        total: Tensor = model(x).features.square().sum() / 2
        return total

    found = weighted_moments(layer, [features], loss)["weight"][0]
    x = spconv.SparseConvTensor(features, sites, [4, 5, 6], 1)
    with torch.no_grad():
        each = layer(x).features.square().mean(1)
    rows: list[Tensor] = []
    rows_of = second_moments_rows(layer, x, rows)
    torch.testing.assert_close(found, (rows_of * each[:, None]).T @ rows_of)


def second_moments_rows(layer: Any, x: Any, seen: list[Tensor]) -> Tensor:
    from sparsefront.pruning.repair.moments import sampler_of_all, watched, weight_names

    with watched(layer, weight_names(layer), sampler_of_all, lambda n, r: seen.append(r[0])):
        layer(x)
    return seen[0]


def test_losses_are_those_of_what_the_repair_leaves() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x = torch.randn(30, 5).double()
    moments = second_moments(model, [x])
    weighted = weighted_moments(model, [x[i : i + 1] for i in range(30)], half_square)
    levels = [
        {n: torch.rand(p.shape) > share for n, p in model.named_parameters() if p.ndim > 1}
        for share in (0.0, 0.3, 0.8)
    ]
    found = repaired_losses(model, levels, moments, weighted)
    assert found[0] == 0
    assert 0 < found[1] < found[2]
    cut = {
        n: p.detach() * levels[2][n] - p.detach() for n, p in model.named_parameters() if p.ndim > 1
    }
    assert found[2] < loss_of_changes(model, cut, weighted)
    np.testing.assert_allclose(
        found[2], loss_of_changes(model, refitted(model, levels[2], moments), weighted)
    )


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


def test_unseen_outputs_have_the_weight_s_own_gradients() -> None:
    """Attention's projections: the mean over a projection's outputs of its squared gradients."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    frames = [torch.randn(1, 5, 4).double() for _ in range(3)]

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        total: Tensor = model(x, x, x)[0].square().sum()
        return total

    found = weighted_moments(layer, frames, loss)
    squares = torch.zeros(12, 4).double()
    for x in frames:
        (gradient,) = torch.autograd.grad(loss(layer, x), [layer.in_proj_weight])
        squares += gradient.square() / len(frames)
    wanted = torch.diag_embed(squares.unflatten(0, (3, 4)).mean(1))
    torch.testing.assert_close(found["in_proj_weight"], wanted)
    assert found["out_proj.weight"].shape == (1, 4, 4) and found["out_proj.weight"].any()


def test_no_frames_are_an_error() -> None:
    with pytest.raises(InputError, match="batches: none given"):
        weighted_moments(linear([1.0]), [], half_square)
