"""Refits with the pruned model's own inputs, against brute force in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.refine import refine


def network() -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(),
        nn.Conv2d(5, 2, 1),
    ).double()  # fmt: skip
    return model, [torch.randn(2, 3, 7, 8).double() for _ in range(3)]


def test_one_layer_after_a_cut_one_is_its_least_squares_fit() -> None:
    """The first layer is cut and left; the last one's answer to the cut model's inputs is nearest
    to the dense answer.
    """
    model, batches = network()
    dense = copy.deepcopy(model)
    kept = {"4.weight": torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]).bool()[:, :, None, None]}
    with torch.no_grad():
        model[0].weight.mul_(torch.rand(model[0].weight.shape) > 0.4)
    mask = PruningMask(kept)
    mask.apply(model)
    inputs = torch.cat([model[:4](x).movedim(1, -1).flatten(0, 2) for x in batches]).detach()
    wanted = torch.cat([dense(x).movedim(1, -1).flatten(0, 2) for x in batches]).detach()
    refine(model, dense, mask, batches, damping=0.0, all_positions=True)
    for output, (new, keep) in enumerate(
        zip(model[4].weight.flatten(1), kept["4.weight"].flatten(1), strict=True)
    ):
        target = wanted[:, output] - dense[4].bias[output].detach()
        best = torch.linalg.lstsq(inputs[:, keep], target[:, None], driver="gelsd").solution
        torch.testing.assert_close(new[keep].detach(), best.squeeze(1), rtol=1e-9, atol=1e-9)
        assert not new[~keep].any()


def test_model_s_error_falls_below_that_of_the_layers_alone() -> None:
    model, batches = network()
    dense = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    mask = PruningMask({
        name: torch.rand(weight.shape, generator=generator) > 0.5
        for name, weight in model.named_parameters() if weight.ndim > 1
    })  # fmt: skip
    moments = second_moments(model, batches, all_positions=True)
    refit_least_squares(model, mask, moments)
    before = error(model, dense, batches)
    refine(model, dense, mask, batches, batch_size=2)
    assert error(model, dense, batches) < before
    mask.check(model)


def test_attention_may_lie_across_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsefront.pruning.repair.refine.TOGETHER", 1)
    torch.manual_seed(0)
    model = nn.MultiheadAttention(4, 2, batch_first=True).double()
    dense = copy.deepcopy(model)
    batches = [torch.randn(2, 9, 4).double() for _ in range(3)]
    mask = PruningMask({
        name: torch.rand(weight.shape) > 0.4
        for name, weight in model.named_parameters() if weight.ndim > 1
    })  # fmt: skip
    mask.apply(model)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    refine(model, dense, mask, batches, lambda m, x: m(x, x, x))
    mask.check(model)
    moved = {n for n, w in model.named_parameters() if not torch.equal(w, before[n])}
    assert moved == {"in_proj_weight", "out_proj.weight"}


def test_no_frames_are_an_error() -> None:
    model, _ = network()
    with pytest.raises(InputError, match="no batches given"):
        refine(model, model, PruningMask({}), [])


def error(model: nn.Module, dense: nn.Module, batches: list[Tensor]) -> float:
    with torch.no_grad():
        return sum(float((model(x) - dense(x)).square().sum()) for x in batches)
