"""Suppression of overlapping boxes: by distance of centres, by rotated overlap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sparsefront.models.heads.box_overlap import overlap_2d


def circle_nms(centers: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    """Numbers of the boxes that stay, best first, at most `most`. A box goes where the squared
    distance of centres [K, 2] to a better one that stays is at most `threshold` (as published: the
    radius is not squared).
    """
    order = scores.argsort(descending=True, stable=True)
    sorted_centers = centers[order].double()
    near = (sorted_centers.unsqueeze(1) - sorted_centers).square().sum(2) <= threshold
    return order[suppress_greedily(near, most)]


def rotated_nms(boxes: Tensor, scores: Tensor, threshold: float, before: int, most: int) -> Tensor:
    """The same by rotated overlap above `threshold` of boxes [K, 5] = x, y, width, length, yaw (the
    published convention); only the best `before` take part.
    """
    order = scores.argsort(descending=True, stable=True)[:before]
    return order[suppress_greedily(overlap_2d(boxes[order], boxes[order]) > threshold, most)]


def suppress_greedily(suppresses: Tensor, most: int) -> Tensor:
    """Rows in order; a row that stays removes every later one that it suppresses."""
    wins = suppresses.cpu().numpy()
    alive = np.ones(len(wins), dtype=bool)
    kept = []
    for row in range(len(wins)):
        if alive[row]:
            kept.append(row)
            alive[row + 1 :] &= ~wins[row, row + 1 :]
    return torch.tensor(kept[:most], dtype=torch.int64, device=suppresses.device)
