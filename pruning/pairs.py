"""Rulebook of a sparse convolution: how many input sites meet an output site, per kernel offset."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor


def pairs_per_offset(layer: Any, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Pairs [k0, k1, k2], int64, of an spconv layer on one input.

    indices: [V, 1 + D] active sites, the frame first; shape: the input's D sizes. Counted from the
    sites alone, so the same on the CPU and on CUDA, whichever algorithm the layer runs.
    ValueError for inverse and transposed layers.
    """
    if layer.inverse or layer.transposed:
        raise ValueError(
            f"{type(layer).__name__}: pairs are counted for SubMConv and SparseConv only"
        )
    kernel, stride, padding, dilation = map(
        tuple, (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    counts = [
        _submanifold(indices, shape, kernel, dilation, offset)
        if layer.subm
        else _strided(indices, shape, (kernel, stride, padding, dilation), offset)
        for offset in product(*map(range, kernel))
    ]
    return torch.tensor(counts, dtype=torch.int64).reshape(kernel)


def _submanifold(
    indices: Tensor,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    offset: tuple[int, ...],
) -> int:
    """Active sites with an active neighbour at this offset from the kernel's centre."""
    steps = [(o - k // 2) * d for o, k, d in zip(offset, kernel, dilation, strict=True)]
    if not any(steps):
        return len(indices)
    sites = indices.long()
    neighbours = sites + sites.new_tensor([0, *steps])
    inside = _inside(neighbours[:, 1:], shape)
    return int(torch.isin(_key(neighbours[inside], shape), _key(sites, shape)).sum())


def _strided(
    indices: Tensor,
    shape: tuple[int, ...],
    geometry: tuple[tuple[int, ...], ...],
    offset: tuple[int, ...],
) -> int:
    """Active sites that this offset joins to an output site: input = output * stride - padding +
    offset * dilation.
    """
    kernel, stride, padding, dilation = geometry
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    ]
    moved = indices[:, 1:].long() + indices.new_tensor(
        [p - o * d for p, o, d in zip(padding, offset, dilation, strict=True)]
    )
    strides = indices.new_tensor(stride)
    meets = (moved % strides == 0).all(1) & _inside(moved // strides, tuple(size))
    return int(meets.sum())


def _inside(sites: Tensor, shape: tuple[int, ...]) -> Tensor:
    return ((sites >= 0) & (sites < sites.new_tensor(shape))).all(1)


def _key(sites: Tensor, shape: tuple[int, ...]) -> Tensor:
    key = sites[:, 0]
    for axis, size in enumerate(shape):
        key = key * size + sites[:, 1 + axis]
    return key
