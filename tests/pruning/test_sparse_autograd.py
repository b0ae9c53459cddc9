"""The plain sparse convolution against spconv's own kernels, and a second derivative."""

from __future__ import annotations

import pytest
import torch

from sparsefront.models.lidar.sparse_conv import NATIVE, spconv
from sparsefront.pruning.sparse_autograd import plain_sparse_layers, sparse_convolution


def cloud(dtype: torch.dtype = torch.float32) -> spconv.SparseConvTensor:
    generator = torch.Generator().manual_seed(0)
    sites = (torch.rand(2, 6, 7, 9, generator=generator) < 0.15).nonzero().int().contiguous()
    features = torch.randn(len(sites), 3, generator=generator).to(dtype)
    return spconv.SparseConvTensor(features.requires_grad_(), sites, [6, 7, 9], 2)


LAYERS = {
    "subm": lambda: spconv.SubMConv3d(3, 5, 3, bias=True, indice_key="a", algo=NATIVE),
    "strided": lambda: spconv.SparseConv3d(3, 5, 3, stride=2, padding=1, algo=NATIVE),
    "flat": lambda: spconv.SparseConv3d(
        3, 5, (1, 1, 3), stride=(1, 1, 2), padding=(0, 0, 1), bias=False, algo=NATIVE
    ),
}


@pytest.mark.parametrize("kind", list(LAYERS))
def test_outputs_and_gradients_equal_spconv(kind: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[kind]()
    theirs_in, ours_in = cloud(), cloud()
    theirs, ours = layer(theirs_in), sparse_convolution(layer, ours_in)
    assert ours.spatial_shape == theirs.spatial_shape
    assert torch.allclose(ours.dense(), theirs.dense(), atol=1e-5)
    weighting = torch.randn_like(theirs.dense())
    found = []
    for x, y in ((theirs_in, theirs), (ours_in, ours)):
        inputs = [x.features, *layer.parameters()]
        found.append(torch.autograd.grad((y.dense() * weighting).sum(), inputs))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_float64_has_a_second_derivative() -> None:
    layer = spconv.SparseConv3d(3, 2, 3, stride=2, padding=1, bias=False).double()
    x = cloud(torch.float64)
    with plain_sparse_layers(layer):
        value = layer(x).features.pow(3).sum()
        (slope,) = torch.autograd.grad(value, layer.weight, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), layer.weight)
    assert slope.dtype == torch.float64
    assert curvature.abs().sum() > 0
    assert "forward" not in vars(layer)
