"""A frame without a data set, to count the MACs of a model on."""

from __future__ import annotations

import math

import torch

from sparsefront.scenes.batch import SensorBatch, Targets
from sparsefront.scenes.loading.images import ImageSpec


def synthetic_frame(image: ImageSpec) -> SensorBatch:
    """One deterministic frame without a data set: six cameras around, points on the ground.

    For counting MACs only: its 20 000 points lie on 32 rings of a flat ground, its images are grey.
    """
    height, width = image.height, image.width
    rings = torch.linspace(2.0, 40.0, 32).repeat_interleave(625)
    angles = torch.arange(rings.numel()) * (2 * math.pi / 625)
    zeros = torch.zeros_like(rings)
    points = torch.stack(
        [rings * angles.cos(), rings * angles.sin(), zeros - 1.8, zeros + 20.0, zeros], dim=1
    )
    cameras = torch.stack([_looking(k * math.pi / 3, height, width) for k in range(6)])
    empty = Targets(boxes=torch.zeros(0, 9), labels=torch.zeros(0, dtype=torch.int64))
    return SensorBatch(
        images=torch.zeros(1, 6, 3, height, width),
        points=(points,),
        lidar_to_image=cameras[None],
        lidar_to_global=torch.eye(4, dtype=torch.float64)[None],
        targets=(empty,),
        tokens=("synthetic frame",),
    )


def _looking(yaw: float, height: int, width: int) -> torch.Tensor:
    """lidar_to_image [4, 4] of a level camera at the origin with 70 degrees across."""
    focal = width / 2 / math.tan(math.radians(35))
    sine, cosine = math.sin(yaw), math.cos(yaw)
    right, forward = (sine, -cosine, 0.0), (cosine, sine, 0.0)
    to_camera = torch.tensor([[*right, 0], [0, 0, -1, 0], [*forward, 0], [0, 0, 0, 1.0]])
    intrinsics = torch.eye(4)
    intrinsics[0, 0] = intrinsics[1, 1] = focal
    intrinsics[0, 2], intrinsics[1, 2] = width / 2, height / 2
    return intrinsics @ to_camera
