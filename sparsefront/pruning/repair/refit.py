"""Refits a layer's kept weights so that it answers as before the cut.

For one output with weights w, kept positions S and A = H + lambda I, lambda a share of H's mean
diagonal, the new weights minimise (w' - w)^T A (w' - w) over those that are zero outside S:

    w'_S = A_SS^-1 (A w)_S                        (normal equations)
         = w_S - (A^-1)_SR (A^-1)_RR^-1 w_R       (R = what goes; Hassibi & Stork, 1993)

Both are exact; each output takes the smaller system. As |w' - w|^2 is least for the cut alone, its
error on the inputs never rises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_BYTES = 1 << 28
"""Of the systems that are solved at once."""


@dataclass(frozen=True)
class Refit:
    """rows   [outputs, columns], zero exactly where not kept
    error  [outputs], (w' - w)^T H (w' - w): the squared error of each output
    cut    [outputs], the same of the cut alone
    failed outputs whose system is singular: theirs is the cut alone
    """

    rows: Tensor
    error: Tensor
    cut: Tensor
    failed: int


@torch.no_grad()
def refit(weight: Tensor, kept: Tensor, moment: Tensor, damping: float) -> Refit:
    """weight, kept [outputs, columns]; moment H [columns, columns]. In float32 or the weight's own
    wider type.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    w, h = weight.to(dtype), moment.to(dtype)
    a = h.clone()
    a.diagonal().add_(damping * h.diagonal().mean())
    cut = w.masked_fill(~kept, 0)
    found = cut.clone()
    counts = kept.sum(1)
    going = kept.shape[1] - counts
    todo = (going > 0) & (counts > 0)
    few = todo & (counts <= going)
    if few.any():
        _solve_kept(found, w @ a, a, kept, few)
    many = todo & ~few
    if many.any():
        _solve_going(found, w, a, kept, many)
    found = found.masked_fill(~kept, 0).to(weight.dtype)
    before, after = _errors(cut - w, h), _errors(found.to(w.dtype) - w, h)
    worse = ~(after <= before)
    found[worse] = cut[worse].to(weight.dtype)
    failed = int(after.isnan().sum())
    return Refit(found, torch.where(worse, before, after), before, failed)


@torch.no_grad()
def refit_to(
    now: Tensor, weight: Tensor, kept: Tensor, squares: Tensor, products: Tensor, damping: float
) -> Tensor:
    """Rows [outputs, columns] whose answers to the inputs X^ are nearest to those of `weight` to X.

    now: the present rows, zero where not kept, which stay where nothing is nearer; squares X^ X^^T
    and products X^ X^T [columns, columns].
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    w, h, c = weight.to(dtype), squares.to(dtype), products.to(dtype)
    a = h.clone()
    a.diagonal().add_(damping * h.diagonal().mean())
    wanted = w @ c.T
    found = now.to(dtype)
    rows = kept.any(1)
    if rows.any():
        _solve_kept(found, wanted + damping * h.diagonal().mean() * w, a, kept, rows)
    found = found.masked_fill(~kept, 0).to(weight.dtype)
    before, after = _distances(now.to(dtype), h, wanted), _distances(found.to(dtype), h, wanted)
    worse = ~(after <= before)
    found[worse] = now[worse]
    return found


def _distances(rows: Tensor, h: Tensor, wanted: Tensor) -> Tensor:
    """|X^ w' - X w|^2 of each row, less what is the same for all w'."""
    return ((rows @ h - 2 * wanted) * rows).sum(1)


def _solve_kept(found: Tensor, target: Tensor, a: Tensor, kept: Tensor, rows: Tensor) -> None:
    """w'_S = A_SS^-1 (target)_S for the rows, in place."""
    for some, index, filled in _systems(kept, rows):
        block = _block(a, index, filled)
        side = target[some[:, None], index].masked_fill(~filled, 0)
        _put(found, some, index, filled, _solve(block, side))


def _solve_going(found: Tensor, w: Tensor, a: Tensor, kept: Tensor, rows: Tensor) -> None:
    """w' = w - A^-1 restricted to R, solved for w_R, in place."""
    factor, info = torch.linalg.cholesky_ex(a)
    if int(info) != 0:
        found[rows] = torch.nan
        return
    inverse = torch.cholesky_inverse(factor)
    for some, index, filled in _systems(~kept, rows):
        side = w[some[:, None], index].masked_fill(~filled, 0)
        share = torch.zeros_like(w[some])
        _put(share, torch.arange(len(some), device=w.device), index, filled,
             _solve(_block(inverse, index, filled), side))  # fmt: skip
        found[some] = w[some] - share @ inverse


def _systems(chosen: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows [n] of about one size, their chosen columns [n, most] and which of those are real."""
    counts = chosen.sum(1)
    order = rows.nonzero().squeeze(1)
    order = order[counts[order].argsort()]
    while len(order):
        most = int(counts[order[-1]])
        size = max(1, MOST_BYTES // (8 * most * most))
        some, order = order[-size:], order[:-size]
        index = chosen[some].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        filled = torch.arange(most, device=chosen.device) < counts[some][:, None]
        yield some, index, filled


def _block(a: Tensor, index: Tensor, filled: Tensor) -> Tensor:
    """A_SS of each row [n, most, most]; the identity where there is nothing."""
    block = a[index[:, :, None], index[:, None, :]]
    block.masked_fill_(~(filled[:, :, None] & filled[:, None, :]), 0)
    block.diagonal(dim1=1, dim2=2).masked_fill_(~filled, 1)
    return block


def _solve(block: Tensor, side: Tensor) -> Tensor:
    """Symmetric positive definite systems; NaN for one that is not."""
    factor, info = torch.linalg.cholesky_ex(block)
    solved = torch.cholesky_solve(side[:, :, None], factor).squeeze(2)
    return solved.masked_fill(info[:, None] != 0, torch.nan)


def _put(into: Tensor, rows: Tensor, index: Tensor, filled: Tensor, values: Tensor) -> None:
    row = rows[:, None].expand_as(index)
    into[row[filled], index[filled]] = values[filled]


def _errors(change: Tensor, h: Tensor) -> Tensor:
    return ((change @ h) * change).sum(1)
