"""Sum of lifted image features in each bird's-eye-view cell (Philion & Fidler, ECCV 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


def bev_pool(features: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    """features [P, C] summed by cells [P] (int64, 0 <= cell < num_cells) -> [num_cells, C]."""
    out = features.new_zeros(num_cells, features.shape[1])
    return out.index_add(0, cells, features)


def cell_index(points: Tensor, origin: Tensor, size: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Flat index of the cell of each point, -1 outside the grid.

    points [..., 3] m, origin [3] the grid's lower corner, size [3] of a cell, shape (X, Y, Z).
    The division is truncated toward zero, not floored, as in the published BEVFusion: the row of
    cells at the lower border also takes the points up to one cell outside.
    """
    index = ((points - origin) / size).long()
    limits = torch.tensor(shape, device=points.device)
    inside = ((index >= 0) & (index < limits)).all(-1)
    flat = (index[..., 0] * shape[1] + index[..., 1]) * shape[2] + index[..., 2]
    return torch.where(inside, flat, torch.full_like(flat, -1))
