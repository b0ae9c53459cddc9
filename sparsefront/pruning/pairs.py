"""Rulebook of a sparse convolution: which input sites meet which output sites, per kernel offset.

Worked out from the active sites alone, so the same on the CPU and on CUDA, whichever algorithm the
layer runs. Sites are rows [frame, ...D indices]; input = output * stride - padding + offset *
dilation. Submanifold layers keep the input's sites, and their padding is half the kernel.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from sparsefront.errors import InputError


def pairs_per_offset(layer: Any, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Number of pairs [k0, k1, k2], int64, of an spconv layer on one input.

    indices: [V, 1 + D] active sites, the frame first; shape: the input's D sizes. InputError for
    inverse and transposed layers.
    """
    out_indices, out_shape = output_sites(layer, indices, shape)
    counts = [
        len(pairs_of_offset(layer, indices, shape, out_indices, out_shape, offset)[0])
        for offset in product(*map(range, layer.kernel_size))
    ]
    return torch.tensor(counts, dtype=torch.int64).reshape(tuple(layer.kernel_size))


def output_sites(
    layer: Any, indices: Tensor, shape: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """Active sites [V', 1 + D] of the output, in the order of their coordinates, and its sizes."""
    if layer.inverse or layer.transposed:
        raise InputError(
            f"{type(layer).__name__}: pairs are counted for SubMConv and SparseConv only"
        )
    if layer.subm:
        return indices, shape
    out_shape = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, *_geometry(layer), strict=True)
    )
    reached = [
        _reached(layer, indices, out_shape, offset)[1]
        for offset in product(*map(range, layer.kernel_size))
    ]
    keys = torch.unique(_key(torch.cat(reached), out_shape))
    return _site(keys, out_shape).to(indices.dtype), out_shape


def pairs_of_offset(
    layer: Any,
    indices: Tensor,
    shape: tuple[int, ...],
    out_indices: Tensor,
    out_shape: tuple[int, ...],
    offset: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    """Rows of the input and rows of the output that one offset joins, [P] each."""
    rows, reached = _reached(layer, indices, out_shape, offset)
    out_keys = _key(out_indices.long(), out_shape)
    order = out_keys.argsort()
    wanted = _key(reached, out_shape)
    place = torch.searchsorted(out_keys[order], wanted).clamp(max=len(out_keys) - 1)
    found = out_keys[order][place] == wanted
    return rows[found], order[place[found]]


def _reached(
    layer: Any, indices: Tensor, out_shape: tuple[int, ...], offset: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Rows of the input that this offset joins to a place on the output grid, and those places."""
    _, stride, padding, dilation = _geometry(layer)
    back = [p - o * d for p, o, d in zip(padding, offset, dilation, strict=True)]
    moved = indices.long() + indices.new_tensor([0, *back]).long()
    strides = moved.new_tensor([1, *stride])
    place = moved // strides
    meets = (moved % strides == 0).all(1) & _inside(place[:, 1:], out_shape)
    return meets.nonzero().squeeze(1), place[meets]


def _geometry(layer: Any) -> tuple[tuple[int, ...], ...]:
    """Kernel, stride, padding, dilation; a submanifold layer pads by half its kernel."""
    kernel, dilation = tuple(layer.kernel_size), tuple(layer.dilation)
    if not layer.subm:
        return kernel, tuple(layer.stride), tuple(layer.padding), dilation
    half = tuple(k // 2 * d for k, d in zip(kernel, dilation, strict=True))
    return kernel, tuple(1 for _ in kernel), half, dilation


def _inside(sites: Tensor, shape: tuple[int, ...]) -> Tensor:
    return ((sites >= 0) & (sites < sites.new_tensor(shape))).all(1)


def _key(sites: Tensor, shape: tuple[int, ...]) -> Tensor:
    key = sites[:, 0]
    for axis, size in enumerate(shape):
        key = key * size + sites[:, 1 + axis]
    return key


def _site(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    columns = []
    for size in reversed(shape):
        columns.append(key % size)
        key = key // size
    return torch.stack([key, *reversed(columns)], dim=1)
