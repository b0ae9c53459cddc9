"""Refitted weights against brute force in float64, for every kind of layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.refit import refit

CONVOLUTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "plain": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5)),
    "strided": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 9, 8)),
    "dilated": (nn.Conv2d(3, 4, 3, dilation=2, padding=2), (2, 3, 7, 6)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2, padding=1), (2, 6, 7, 6)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding=1), (2, 4, 7, 6)),
    "oblong": (nn.Conv2d(3, 4, (1, 3), stride=(2, 1), padding=(0, 1)), (2, 3, 8, 6)),
    "circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 6, 5)),
    "reflect": (nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"), (2, 3, 6, 5)),
    "same": (nn.Conv2d(3, 4, (2, 3), padding="same"), (2, 3, 6, 5)),
    "without a batch": (nn.Conv2d(3, 4, 3), (3, 6, 5)),
    "1d": (nn.Conv1d(3, 4, 3, dilation=2), (3, 3, 12)),
    "3d": (nn.Conv3d(2, 3, 2, stride=(1, 2, 1)), (2, 2, 4, 5, 4)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (2, 3, 5, 4)),
    "transposed by its kernel": (nn.ConvTranspose2d(3, 4, 2, stride=2), (2, 3, 5, 4)),
    "transposed, more": (
        nn.ConvTranspose2d(4, 6, 3, stride=3, output_padding=1, dilation=2, groups=2),
        (2, 4, 4, 3),
    ),
    "transposed 1d": (nn.ConvTranspose1d(3, 2, 4, stride=2, padding=1), (3, 3, 8)),
    "linear": (nn.Linear(6, 5), (4, 3, 6)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_refit_is_the_minimum_over_the_kept_weights(kind: str) -> None:
    """Brute force: the layer is linear in its weights, so its answers to unit weights are the
    columns of a least squares problem.
    """
    torch.manual_seed(0)
    layer, size = CONVOLUTIONS[kind]
    layer = layer.double()
    check_layer(layer, "weight", [torch.randn(size, dtype=torch.float64)], damping=0.0)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_damping_is_a_share_of_the_mean_squared_input(share: float) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(3, 7).double(), torch.randn(50, 7).double()
    kept = torch.rand(3, 7) > share
    h = x.T @ x
    found = refit(weight, kept, h, 0.05).rows
    damping = 0.05 * h.diagonal().mean()
    for w, keep, new in zip(weight, kept, found, strict=True):
        a = h + damping * torch.eye(7).double()
        wanted = torch.linalg.solve(a[keep][:, keep], (h @ w + damping * w)[keep])
        torch.testing.assert_close(new[keep], wanted, rtol=1e-9, atol=1e-9)
        assert not new[~keep].any()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
def test_error_never_rises(share: float) -> None:
    torch.manual_seed(1)
    weight, x = torch.randn(40, 30).double(), torch.randn(60, 30).double()
    kept = torch.rand(40, 30) > share
    kept[0], kept[1] = True, False
    found = refit(weight, kept, x.T @ x, 0.01)
    assert (found.error <= found.cut).all()
    whole = kept.all(1)
    assert torch.equal(found.rows[whole], weight[whole])
    errors = (x @ (found.rows - weight).T).square().sum(0)
    torch.testing.assert_close(found.error, errors)


def test_attention_with_one_input_shares_its_moments() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    moments = second_moments(layer, [x], lambda m, b: m(b, b, b), all_positions=True)
    flat = x.flatten(0, 1)
    torch.testing.assert_close(moments["in_proj_weight"], (flat.T @ flat / len(flat))[None])
    context = attention_context(layer, x, x)
    wanted = context.T @ context / len(context)
    torch.testing.assert_close(moments["out_proj.weight"][0], wanted)


def test_cross_attention_has_one_group_for_each_input() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    query, key = torch.randn(2, 3, 4).double(), torch.randn(2, 7, 4).double()
    moments = second_moments(layer, [0], lambda m, b: m(query, key, value=key), all_positions=True)
    found = moments["in_proj_weight"]
    for group, x in enumerate((query, key, key)):
        flat = x.flatten(0, 1)
        wanted = flat.T @ flat
        torch.testing.assert_close(found[group] / found[group].mean(), wanted / wanted.mean())
    context = attention_context(layer, query, key)
    wanted = context.T @ context / len(context)
    torch.testing.assert_close(moments["out_proj.weight"][0], wanted)


def test_attention_of_other_widths_has_a_weight_for_each_input() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True).double()
    q, k, v = (torch.randn(2, 6, n).double() for n in (4, 3, 5))
    moments = second_moments(layer, [0], lambda m, b: m(q, k, v), all_positions=True)
    for part, x in zip("qkv", (q, k, v), strict=True):
        flat = x.flatten(0, 1)
        found = moments[f"{part}_proj_weight"][0]
        torch.testing.assert_close(found, flat.T @ flat / len(flat))


def test_fused_projection_is_refitted_by_query_key_and_value() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    query, key = torch.randn(2, 8, 4).double(), torch.randn(2, 7, 4).double()
    moments = second_moments(layer, [0], lambda m, b: m(query, key, key), all_positions=True)
    kept = torch.rand(12, 4) > 0.5
    before = layer.in_proj_weight.detach().clone()
    refit_least_squares(layer, PruningMask({"in_proj_weight": kept}), moments, damping=0.0)
    for group, x in enumerate((query, key, key)):
        rows = slice(4 * group, 4 * group + 4)
        flat = x.flatten(0, 1)
        check_rows(layer.in_proj_weight.detach()[rows], before[rows], kept[rows], flat)


def test_layer_that_is_used_twice_sees_both_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.other = nn.Linear(4, 4)
            self.other.weight = self.one.weight

        def forward(self, x: Tensor) -> Any:
            return self.other(torch.tanh(self.one(x)))

    torch.manual_seed(0)
    model = Twice().double()
    x = torch.randn(9, 4).double()
    hidden = torch.tanh(model.one(x)).detach()
    moments = second_moments(model, [x], all_positions=True)
    both = torch.cat([x, hidden])
    torch.testing.assert_close(moments["one.weight"][0], both.T @ both / 18)
    assert "other.weight" not in moments


def test_channels_are_one_system_a_layer() -> None:
    """All outputs keep the same inputs: the layer that reads removed channels is refitted."""
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 3, 3, padding=1).double()
    kept = torch.ones(3, 4, 3, 3, dtype=torch.bool)
    kept[:, [1, 2]] = False
    x = torch.randn(2, 4, 6, 5).double()
    before = layer.weight.detach().clone()
    moments = second_moments(layer, [x], all_positions=True)
    refit_least_squares(layer, PruningMask({"weight": kept}), moments, damping=0.0)
    columns = functional.unfold(x, 3, padding=1).transpose(1, 2).reshape(-1, 36)
    check_rows(layer.weight.detach().flatten(1), before.flatten(1), kept.flatten(1), columns)


def test_always_zero_inputs_are_noted() -> None:
    layer = nn.Linear(3, 2, bias=False)
    before = layer.weight.detach().clone()
    kept = torch.tensor([[True, False, True], [False, True, True]])
    moments = second_moments(layer, [torch.zeros(5, 3)])
    report = refit_least_squares(layer, PruningMask({"weight": kept}), moments)
    assert torch.equal(layer.weight, before.masked_fill(~kept, 0))
    assert report.notes == ("repair: not refitted, as their inputs are always zero: weight",)


def test_one_channel_that_is_always_zero_costs_nothing() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 2, bias=False).double()
    x = torch.randn(20, 4).double()
    x[:, 2] = 0
    kept = torch.tensor([[True, False, True, True], [False, True, True, False]])
    before = layer.weight.detach().clone()
    moments = second_moments(layer, [x])
    report = refit_least_squares(layer, PruningMask({"weight": kept}), moments)
    assert report.notes == ()
    torch.testing.assert_close(layer.weight[:, 2], before[:, 2])


def test_singular_systems_without_damping_keep_the_cut() -> None:
    layer = nn.Linear(3, 1, bias=False)
    x = torch.tensor([[1.0, 1.0, 2.0]])
    before = layer.weight.detach().clone()
    kept = torch.tensor([[True, True, False]])
    moments = second_moments(layer, [x])
    report = refit_least_squares(layer, PruningMask({"weight": kept}), moments, damping=0.0)
    assert torch.equal(layer.weight, before.masked_fill(~kept, 0))
    assert "singular" in report.notes[0] and report.notes[0].startswith("repair: weight: 1 outputs")


def test_layer_that_no_frame_reaches_is_named() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Any:
            return self.used(x)

    model = Half()
    kept = torch.eye(3, dtype=torch.bool)
    mask = PruningMask({"used.weight": kept, "idle.weight": kept})
    report = refit_least_squares(model, mask, second_moments(model, [torch.randn(7, 3)]))
    assert report.notes == ("repair: not refitted, as no frame reached them: idle.weight",)
    mask.check(model)
    assert report.layers["used.weight"].refitted <= report.layers["used.weight"].cut


def check_layer(layer: nn.Module, field: str, inputs: list[Tensor], damping: float) -> None:
    """A layer alone, refitted at 60 %, against a least squares problem of its own answers."""
    weight = getattr(layer, field)
    kept = torch.rand(weight.shape) > 0.6
    before = weight.detach().clone()
    wanted = torch.cat([layer(x).flatten() for x in inputs]).detach()
    moments = second_moments(layer, inputs, all_positions=True)
    report = refit_least_squares(layer, PruningMask({field: kept}), moments, damping)
    assert report.notes == ()
    assert not getattr(layer, field)[~kept].any()
    found = torch.cat([layer(x).flatten() for x in inputs]).detach()
    columns = []
    for at in kept.flatten().nonzero().flatten().tolist():
        unit = torch.zeros(weight.numel(), dtype=torch.float64)
        unit[at] = 1
        with torch.no_grad():
            weight.copy_(unit.reshape(weight.shape))
        answers = torch.cat([layer(x).flatten() for x in inputs]).detach()
        columns.append(answers - bias_of(layer, inputs))
    design = torch.stack(columns, 1)
    target = wanted - bias_of(layer, inputs)
    best = torch.linalg.lstsq(design, target[:, None], driver="gelsd").solution.squeeze(1)
    torch.testing.assert_close(found - bias_of(layer, inputs), design @ best, rtol=1e-9, atol=1e-9)
    assert not torch.equal(before, weight)


def bias_of(layer: Any, inputs: list[Tensor]) -> Tensor:
    """What the layer answers with a weight of zero."""
    kept = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.zero_()
        answers = torch.cat([layer(x).flatten() for x in inputs])
        layer.weight.copy_(kept)
    return answers


def check_rows(found: Tensor, before: Tensor, kept: Tensor, columns: Tensor) -> None:
    for new, w, keep in zip(found, before, kept, strict=True):
        assert not new[~keep].any()
        if not keep.any():
            continue
        best = torch.linalg.lstsq(columns[:, keep], (columns @ w)[:, None], driver="gelsd")
        torch.testing.assert_close(new[keep], best.solution.squeeze(1), rtol=1e-9, atol=1e-9)


def attention_context(layer: nn.MultiheadAttention, query: Tensor, key: Tensor) -> Tensor:
    """By hand: softmax(q k^T / sqrt(d)) v of two heads, side by side."""
    parts = [
        functional.linear(x, w, b)
        for x, w, b in zip(
            (query, key, key),
            layer.in_proj_weight.chunk(3),
            layer.in_proj_bias.chunk(3),
            strict=True,
        )
    ]
    q, k, v = (part.unflatten(2, (2, 2)).transpose(1, 2) for part in parts)
    weights = (q @ k.transpose(2, 3) / 2**0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2).flatten(0, 1).detach()
