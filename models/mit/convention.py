"""Boxes as the published BEVFusion has them, and as SensorBatch has them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def to_published(boxes: Tensor) -> Tensor:
    """[M, 9] of SensorBatch (length, width, height; yaw counter-clockwise from +x) to the published
    convention (width, length, height; yaw clockwise from -y).
    """
    yaw = -boxes[:, 6:7] - math.pi / 2
    return torch.cat([boxes[:, :3], boxes[:, [4, 3, 5]], yaw, boxes[:, 7:]], dim=1)


def from_published(boxes: Tensor) -> Tensor:
    """The way back; the map is its own inverse."""
    return to_published(boxes)
