"""A small synthetic batch: six cameras around the LiDAR, flat ground, points on a few boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparsefront.models import BEVFusionSmall
from sparsefront.scenes.batch import SensorBatch, Targets

FRAMES, CAMERAS, HEIGHT, WIDTH = 2, 6, 64, 128


def ring_of_cameras() -> Tensor:
    """lidar_to_image [N, 4, 4] of cameras that look outward every 60 degrees."""
    matrices = torch.eye(4).repeat(CAMERAS, 1, 1)
    intrinsics = torch.tensor([[90.0, 0, WIDTH / 2], [0, 90.0, HEIGHT / 2], [0, 0, 1]])
    for camera in range(CAMERAS):
        angle = camera * math.pi / 3
        forward = torch.tensor([math.sin(angle), math.cos(angle), 0])
        right = torch.tensor([math.cos(angle), -math.sin(angle), 0])
        rotation = torch.stack([right, torch.tensor([0.0, 0, -1]), forward])
        matrices[camera, :3, :3] = intrinsics @ rotation
    return matrices


@pytest.fixture
def batch() -> SensorBatch:
    generator = torch.Generator().manual_seed(0)
    points, targets = [], []
    for _ in range(FRAMES):
        ground = torch.rand(3000, 5, generator=generator) * torch.tensor([60.0, 60, 0.1, 200, 0.2])
        points.append(ground - torch.tensor([30.0, 30, 1.8, 0, 0]))
        boxes = torch.rand(6, 9, generator=generator)
        boxes[:, :2] = boxes[:, :2] * 40 - 20
        boxes[:, 3:6] += 1
        targets.append(Targets(boxes=boxes, labels=torch.arange(6)))
    return SensorBatch(
        images=torch.randn(FRAMES, CAMERAS, 3, HEIGHT, WIDTH, generator=generator),
        points=tuple(points),
        lidar_to_image=ring_of_cameras().repeat(FRAMES, 1, 1, 1),
        lidar_to_global=torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1),
        targets=tuple(targets),
        tokens=("first", "second"),
    )


@pytest.fixture
def tiny() -> BEVFusionSmall:
    return BEVFusionSmall(
        image_channels=(8, 8, 16),
        image_blocks=(1, 1, 1),
        neck_channels=16,
        camera_bev_channels=8,
        voxel_channels=(8, 8, 8),
        lidar_bev_channels=16,
        fused_channels=16,
        decoder_channels=(16, 16),
        decoder_depth=1,
        head_channels=16,
        half_side_m=19.2,
    )
