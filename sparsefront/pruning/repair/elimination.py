"""Optimal Brain Surgeon's elimination order of a layer's weights (Hassibi & Stork, 1993; exact,
row by row, as in Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022).

For an output with weights w and A = H + lambda I the weight that costs least goes first,

    q = argmin w_j^2 / [A^-1]_jj,    the others move by -w_q / [A^-1]_qq A^-1_:q,

A^-1 loses its row and column q, and so on until nothing is left. What went in the first k steps
costs half of the error that the best refit of the others leaves.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_BYTES = 1 << 28
"""Of the inverses that are held at once, one an output."""


@torch.no_grad()
def elimination_losses(rows: Tensor, moment: Tensor, damping: float) -> Tensor:
    """rows [outputs, columns], moment H [columns, columns] -> [outputs, columns]: what a weight's
    elimination adds to its output's error, never less than the one before it in the same output.
    """
    dtype = torch.promote_types(rows.dtype, torch.float32)
    a = moment.to(dtype).clone()
    a.diagonal().add_(damping * a.diagonal().mean() + torch.finfo(dtype).tiny)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(a))
    columns = rows.shape[1]
    size = max(1, MOST_BYTES // (columns * columns * inverse.element_size()))
    return torch.cat([_of_rows(part.to(dtype), inverse) for part in rows.split(size)])


def _of_rows(weight: Tensor, inverse: Tensor) -> Tensor:
    outputs, columns = weight.shape
    w, a = weight.clone(), inverse.expand(outputs, columns, columns).clone()
    there = torch.ones_like(w, dtype=torch.bool)
    losses = torch.zeros_like(w)
    row = torch.arange(outputs, device=w.device)
    least = torch.finfo(w.dtype).tiny
    reached = w.new_zeros(outputs)
    for _ in range(columns):
        diagonal = a.diagonal(dim1=1, dim2=2).clamp_min(least)
        cost = (w.square() / diagonal).masked_fill(~there, torch.inf)
        chosen = cost.argmin(1)
        reached = torch.maximum(reached, cost[row, chosen] / 2)
        losses[row, chosen] = reached
        line, pivot = a[row, chosen], diagonal[row, chosen]
        w -= (w[row, chosen] / pivot)[:, None] * line
        a -= line[:, :, None] * (line / pivot[:, None])[:, None, :]
        there[row, chosen] = False
        w.masked_fill_(~there, 0)
    return losses
