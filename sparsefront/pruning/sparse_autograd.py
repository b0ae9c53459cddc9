"""spconv layers computed by plain torch operations: any dtype, differentiable twice.

spconv's own kernels are float32 or float16 and know one derivative; iterative and second-order
criteria need more. Gather, multiply, scatter per kernel offset: never densified.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparsefront.pruning.pairs import output_sites, pairs_of_offset
from sparsefront.pruning.weights import is_sparse_convolution


@contextmanager
def plain_sparse_layers(model: nn.Module) -> Iterator[None]:
    """While open, the model's SubMConv and SparseConv layers run through `sparse_convolution`, and
    attention through torch's plain kernel, the one that is differentiable twice.
    """
    layers = [m for m in model.modules() if is_sparse_convolution(m)]
    for layer in layers:
        layer.forward = _bound(layer)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for layer in layers:
            del layer.forward


def sparse_convolution(layer: Any, x: Any) -> Any:
    """The layer's output for an spconv SparseConvTensor, in the dtype of its features."""
    shape = tuple(x.spatial_shape)
    indices, out_shape = output_sites(layer, x.indices, shape)
    weight = layer.weight
    out = x.features.new_zeros(len(indices), weight.shape[0])
    for offset in product(*map(range, layer.kernel_size)):
        sources, targets = pairs_of_offset(layer, x.indices, shape, indices, out_shape, offset)
        kernel = weight[(slice(None), *offset)]  # [out, in]
        out = out.index_add(0, targets, x.features[sources] @ kernel.T)
    if layer.bias is not None:
        out = out + layer.bias
    result = x.replace_feature(out)
    result.indices = indices
    result.spatial_shape = list(out_shape)
    return result


def _bound(layer: Any) -> Any:
    def forward(x: Any, add_input: Tensor | None = None) -> Any:
        assert add_input is None
        return sparse_convolution(layer, x)

    return forward


def absolute_features(x: Any) -> Any:
    """|x| of a tensor or of the features of an SparseConvTensor."""
    return x.abs() if torch.is_tensor(x) else x.replace_feature(x.features.abs())
