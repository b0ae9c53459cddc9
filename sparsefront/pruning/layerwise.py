"""How a sparsity group spreads over its layers: uniform, Erdos-Renyi-Kernel, or as LAMP does."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from sparsefront.errors import InputError


def uniform_shares(shapes: Sequence[tuple[int, ...]], kept: int) -> list[float]:
    """Kept weights of each layer, as fractions: the same density in every layer."""
    sizes = [prod(shape) for shape in shapes]
    return [kept * size / sum(sizes) for size in sizes]


def erk_shares(shapes: Sequence[tuple[int, ...]], kept: int) -> list[float]:
    """Kept weights of each layer, as fractions: density = min(1, epsilon sum(dims) / prod(dims))
    (Erdos-Renyi-Kernel; Evci et al., ICML 2020, sec. 3). epsilon is solved for the total; layers
    that would pass density 1 stay dense and it is solved again.
    """
    dense: set[int] = set()
    while True:
        room = kept - sum(prod(shapes[i]) for i in dense)
        rest = [i for i in range(len(shapes)) if i not in dense]
        if not rest:
            break
        epsilon = room / sum(sum(shapes[i]) for i in rest)
        over = {i for i in rest if epsilon * sum(shapes[i]) > prod(shapes[i])}
        if not over:
            break
        dense |= over
    return [
        float(prod(shape)) if i in dense else epsilon * sum(shape) for i, shape in enumerate(shapes)
    ]


def apportion(
    shares: Sequence[float], total: int, floors: Sequence[int], sizes: Sequence[int]
) -> list[int]:
    """Whole numbers that sum to `total`, each within [floor, size] and near its share.

    Largest remainder: round down, then hand out what is missing. InputError where no such numbers
    exist.
    """
    if not sum(floors) <= total <= sum(sizes):
        raise InputError(f"{total} weights kept; allowed: {sum(floors)} to {sum(sizes)}")
    counts = [
        min(max(int(share), floor), size)
        for share, floor, size in zip(shares, floors, sizes, strict=True)
    ]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        for i in by_remainder if step > 0 else reversed(by_remainder):
            if sum(counts) != total and floors[i] <= counts[i] + step <= sizes[i]:
                counts[i] += step
    return counts


def normalise_as_lamp(scores: Tensor) -> Tensor:
    """score^2 over the sum of the squares of the layer's scores at least as large, so that layers
    compare under one threshold (LAMP; Lee et al., ICLR 2021, eq. 3, there with |weight|).

    The largest of a layer is 1; equal ones go by position. InputError for a negative score.
    """
    if (scores < 0).any():
        raise InputError("rule: value 'lamp'; allowed with negative scores: global, uniform, erk")
    squares = scores.flatten().square()
    order = squares.argsort(descending=True, stable=True)
    from_largest = squares[order].cumsum(0)
    normalised = torch.empty_like(squares)
    normalised[order] = squares[order] / from_largest.clamp(min=torch.finfo(squares.dtype).tiny)
    return normalised.reshape(scores.shape)
