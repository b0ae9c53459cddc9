"""spconv layers against their densified twins, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsefront.models.lidar.sparse_conv import NATIVE, spconv
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.sparse_autograd import plain_sparse_layers

LAYERS = {
    "subm": lambda: spconv.SubMConv3d(3, 4, 3, bias=True, indice_key="a", algo=NATIVE),
    "subm, dilated": lambda: spconv.SubMConv3d(3, 4, 3, dilation=2, algo=NATIVE),
    "strided": lambda: spconv.SparseConv3d(3, 4, 3, stride=2, padding=1, bias=False, algo=NATIVE),
    "flat": lambda: spconv.SparseConv3d(
        3, 4, (1, 1, 3), stride=(1, 1, 2), padding=(0, 0, 1), bias=False, algo=NATIVE
    ),
}


def cloud() -> Any:
    generator = torch.Generator().manual_seed(0)
    sites = (torch.rand(2, 8, 9, 10, generator=generator) < 0.3).nonzero().int().contiguous()
    features = torch.randn(len(sites), 3, generator=generator, dtype=torch.float64)
    return spconv.SparseConvTensor(features, sites, [8, 9, 10], 2)


@pytest.mark.parametrize("kind", LAYERS)
def test_moments_and_refit_equal_those_of_the_densified_layer(kind: str) -> None:
    """A dense convolution of the same kernel, looked at where the sparse one has outputs."""
    torch.manual_seed(0)
    layer = LAYERS[kind]().double()
    x = cloud()
    with plain_sparse_layers(layer):
        moments = second_moments(layer, [x], all_positions=True)
        out = layer(x)
    columns = dense_columns(layer, x, out)
    before = layer.weight.detach().clone().flatten(1)
    torch.testing.assert_close(layer_outputs(layer, columns), out.features)
    torch.testing.assert_close(
        moments["weight"][0], columns.T @ columns / len(columns), rtol=1e-12, atol=1e-12
    )
    kept = torch.rand(layer.weight.shape) > 0.6
    report = refit_least_squares(layer, PruningMask({"weight": kept}), moments, damping=0.0)
    assert report.notes == ()
    rows = layer.weight.detach().flatten(1)
    for new, w, keep in zip(rows, before, kept.flatten(1), strict=True):
        best = torch.linalg.lstsq(columns[:, keep], (columns @ w)[:, None], driver="gelsd")
        fitted = columns[:, keep] @ best.solution.squeeze(1)
        torch.testing.assert_close(columns @ new, fitted, rtol=1e-9, atol=1e-9)
        assert not new[~keep].any()


def test_spconv_s_own_kernels_see_the_same() -> None:
    torch.manual_seed(0)
    layer = LAYERS["strided"]()
    x = cloud()
    x = x.replace_feature(x.features.float())
    found = second_moments(layer, [x], all_positions=True)["weight"]
    with plain_sparse_layers(layer):
        ours = second_moments(layer, [x], all_positions=True)["weight"]
    torch.testing.assert_close(found, ours)


def test_inverse_layers_are_left_and_named() -> None:
    class UpAndDown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = spconv.SparseConv3d(
                3, 4, 3, stride=2, bias=False, indice_key="k", algo=NATIVE
            )
            self.up = spconv.SparseInverseConv3d(4, 2, 3, bias=False, indice_key="k", algo=NATIVE)

        def forward(self, x: Any) -> Any:
            return self.up(self.down(x))

    torch.manual_seed(0)
    model = UpAndDown()
    x = cloud()
    x = x.replace_feature(x.features.float())
    moments = second_moments(model, [x])
    assert set(moments) == {"down.weight"}
    before = model.up.weight.detach().clone()
    kept = {name: torch.rand(p.shape) > 0.5 for name, p in model.named_parameters() if p.ndim > 1}
    report = refit_least_squares(model, PruningMask(kept), moments)
    assert report.notes == (
        "repair: up.weight: layers of kind SparseInverseConv3d are not refitted",
    )
    assert torch.equal(model.up.weight, before.masked_fill(~kept["up.weight"], 0))


def dense_columns(layer: Any, x: Any, out: Any) -> Tensor:
    """[sites, taps * in]: patches of the densified input at the output's sites."""
    dense = x.dense()  # [B, C, Z, Y, X]
    kernel, dilation = list(layer.kernel_size), list(layer.dilation)
    pad = [k // 2 * d for k, d in zip(kernel, dilation, strict=True)]
    padding = pad if layer.subm else list(layer.padding)
    stride = [1, 1, 1] if layer.subm else list(layer.stride)
    dense = nn.functional.pad(dense, [p for size in reversed(padding) for p in (size, size)])
    rows = []
    for frame, *site in out.indices.long().tolist():
        at = [
            slice(q * s, q * s + (k - 1) * d + 1, d)
            for q, s, k, d in zip(site, stride, kernel, dilation, strict=True)
        ]
        patch = dense[(frame, slice(None), *at)]  # [C, k0, k1, k2]
        rows.append(patch.movedim(0, -1).flatten())
    return torch.stack(rows)


def layer_outputs(layer: Any, columns: Tensor) -> Tensor:
    found = columns @ layer.weight.detach().flatten(1).T
    return found if layer.bias is None else found + layer.bias.detach()
