"""Overlap of rotated boxes in the published convention, computed with shapely's polygons."""

from __future__ import annotations

import numpy as np
import shapely
import torch
from torch import Tensor


def overlap_3d(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union [M, K] of boxes [M, 7+] and [K, 7+] = x, y, z, width, length, height,
    yaw; z is the lower end, both in one frame.
    """
    if len(boxes) == 0 or len(others) == 0:
        return boxes.new_zeros(len(boxes), len(others))
    ours, theirs = _polygons(boxes), _polygons(others)
    area = shapely.area(shapely.intersection(ours[:, None], theirs[None]))
    flat = torch.from_numpy(area).to(boxes)
    top = torch.minimum((boxes[:, 2] + boxes[:, 5]).unsqueeze(1), others[:, 2] + others[:, 5])
    low = torch.maximum(boxes[:, 2].unsqueeze(1), others[:, 2])
    common = flat * (top - low).clamp(min=0)
    volumes = boxes[:, 3:6].prod(1).unsqueeze(1) + others[:, 3:6].prod(1)
    return common / (volumes - common).clamp(min=1e-8)


def overlap_2d(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union on the ground [M, K] of boxes [M, 5] and [K, 5] = x, y, width,
    length, yaw.
    """
    ours, theirs = _rectangles(boxes), _rectangles(others)
    common = boxes.new_zeros(len(boxes), len(others), dtype=torch.float64)
    reach = 0.5 * torch.hypot(boxes[:, 2], boxes[:, 3])
    reach_others = 0.5 * torch.hypot(others[:, 2], others[:, 3])
    near = torch.cdist(boxes[:, :2], others[:, :2]) <= reach.unsqueeze(1) + reach_others
    row, column = near.nonzero().cpu().numpy().T  # shapely sees only pairs that may touch
    area = shapely.area(shapely.intersection(ours[row], theirs[column]))
    common[row, column] = torch.from_numpy(area).to(common)
    union = boxes[:, 2:4].prod(1).unsqueeze(1) + others[:, 2:4].prod(1) - common
    return (common / union.clamp(min=1e-8)).to(boxes.dtype)


def _polygons(boxes: Tensor) -> np.ndarray:
    return _rectangles(boxes[:, [0, 1, 3, 4, 6]])


def _rectangles(boxes: Tensor) -> np.ndarray:
    """Width along x and length along y, turned clockwise by yaw."""
    x, y, width, length, yaw = boxes.detach().cpu().double().numpy().T
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    across, along = signs[:, 0] * width[:, None], signs[:, 1] * length[:, None]  # [M, 4]
    cosine, sine = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    corners = np.stack(
        [
            x[:, None] + across * cosine + along * sine,
            y[:, None] - across * sine + along * cosine,
        ],
        axis=-1,
    )
    found: np.ndarray = shapely.polygons(corners)
    return found
