"""Joins batches along their frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsefront.scenes.batch import CalibrationParts, SensorBatch


def collate(samples: Sequence[SensorBatch], images: torch.Tensor | None = None) -> SensorBatch:
    """Joins batches with images of one size into one; what some of them lack is None.

    images  those of the samples, where they lie in one tensor already
    """
    return SensorBatch(
        images=torch.cat([s.images for s in samples]) if images is None else images,
        points=tuple(p for s in samples for p in s.points),
        lidar_to_image=torch.cat([s.lidar_to_image for s in samples]),
        lidar_to_global=torch.cat([s.lidar_to_global for s in samples]),
        targets=tuple(t for s in samples for t in s.targets),
        tokens=tuple(t for s in samples for t in s.tokens),
        parts=_join_parts([s.parts for s in samples if s.parts is not None], len(samples)),
        radar=_join_clouds(samples),
    )


def _join_parts(parts: Sequence[CalibrationParts], samples: int) -> CalibrationParts | None:
    if len(parts) < samples:
        return None
    return CalibrationParts(
        projection=torch.cat([p.projection for p in parts]),
        image=torch.cat([p.image for p in parts]),
        lidar=torch.cat([p.lidar for p in parts]),
        intrinsics=_cat([p.intrinsics for p in parts]),
        camera_to_ego=_cat([p.camera_to_ego for p in parts]),
    )


def _cat(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    known = [t for t in tensors if t is not None]
    return torch.cat(known) if len(known) == len(tensors) else None


def _join_clouds(samples: Sequence[SensorBatch]) -> tuple[torch.Tensor, ...] | None:
    clouds = [cloud for s in samples if s.radar is not None for cloud in s.radar]
    return tuple(clouds) if len(clouds) == len(samples) else None
