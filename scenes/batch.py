"""What a model sees of a scene: sensors, calibration and targets of a batch of frames.

Shape legend: B frames, N cameras, H x W network input pixels, P points, M boxes, K detections.
All geometry is in the LiDAR frame of nuScenes' LIDAR_TOP: x right, y forward, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

DETECTION_CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""The ten nuScenes detection classes, in the order of the published BEVFusion heads."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Ground truth of one frame.

    boxes  [M, 9] float32: x, y, z of the centre, length, width, height (m), yaw of the length
           axis counter-clockwise from +x (rad), velocity x, y (m/s; NaN where unknown)
    labels [M] int64: index into DETECTION_CLASSES
    """

    boxes: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Targets:
        return replace(self, boxes=self.boxes.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Predicted boxes of one frame: boxes [K, 9] as in Targets, scores [K] in 0..1, labels [K]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class CalibrationParts:
    """What lidar_to_image is made of, for models that must round exactly as the published ones.

    projection  [B, N, 4, 4] float32: un-augmented LiDAR frame -> (u d, v d, d, 1), stored pixels
    image       [B, N, 4, 4] float32: stored pixels (u, v) -> input pixels; rotation and scale in
                [:2, :2], shift in [:2, 3]
    lidar       [B, 4, 4] float32: un-augmented -> augmented LiDAR frame
    """

    projection: Tensor
    image: Tensor
    lidar: Tensor

    def to(self, device: torch.device | str) -> CalibrationParts:
        return CalibrationParts(
            projection=self.projection.to(device),
            image=self.image.to(device),
            lidar=self.lidar.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class SensorBatch:
    """Everything a fusion model reads of B frames.

    images             [B, N, 3, H, W] float32, normalised RGB
    points             B tensors [P, 5] float32: x, y, z (m), intensity 0..255, delta t (s)
    lidar_to_image     [B, N, 4, 4] float32: (x, y, z, 1) -> (u * d, v * d, d, 1), u and v in input
                       pixels and d the depth in metres; contains every augmentation, so its
                       inverse lifts a pixel with a depth into the (augmented) LiDAR frame
    parts              what lidar_to_image is made of; None where only the product is known
    lidar_to_global    [B, 4, 4] float64: un-augmented LiDAR frame -> global frame
    targets            B Targets in the (augmented) LiDAR frame
    tokens             B sample tokens
    """

    images: Tensor
    points: tuple[Tensor, ...]
    lidar_to_image: Tensor
    lidar_to_global: Tensor
    targets: tuple[Targets, ...]
    tokens: tuple[str, ...]
    parts: CalibrationParts | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def all_ones(self) -> SensorBatch:
        """The same frames with ones for all that is measured; points stay where they are."""
        points = tuple(torch.cat([p[:, :3], torch.ones_like(p[:, 3:])], dim=1) for p in self.points)
        images = torch.ones_like(self.images, dtype=torch.float64)
        return replace(self, images=images, points=points)

    def to(self, device: torch.device | str) -> SensorBatch:
        """The same batch on another device (poses stay on the CPU in float64)."""
        return replace(
            self,
            images=self.images.to(device),
            points=tuple(p.to(device) for p in self.points),
            lidar_to_image=self.lidar_to_image.to(device),
            targets=tuple(t.to(device) for t in self.targets),
            parts=None if self.parts is None else self.parts.to(device),
        )
