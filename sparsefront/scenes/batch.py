"""What a model sees of a scene: sensors, calibration and targets of a batch of frames.

Shape legend: B frames, N cameras, H x W network input pixels, P points, M boxes, K detections.
All geometry is in the LiDAR frame of nuScenes' LIDAR_TOP: x right, y forward, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

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


MAP_CLASSES = (
    "drivable_area",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "divider",
)
"""The six nuScenes map classes, in the order of the published BEVFusion segmentation head."""

RADAR_FIELDS = 45
"""x, y, z, cross-section, compensated velocity x and y of a radar point, then 39 numbers of its
states and age: the fields that the published BEVFusion-R reads.
"""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Ground truth of one frame.

    boxes  [M, 9] float32: x, y, z of the centre, length, width, height (m), yaw of the length
           axis counter-clockwise from +x (rad), velocity x, y (m/s; NaN where unknown)
    labels [M] int64: index into DETECTION_CLASSES
    maps   [K, X, Y] bool: cells of each of MAP_CLASSES, 0.5 m within 50 m, x slow; None where the
           data have no maps
    """

    boxes: Tensor
    labels: Tensor
    maps: Tensor | None = None

    def to(self, device: torch.device | str) -> Targets:
        maps = None if self.maps is None else self.maps.to(device)
        return Targets(boxes=self.boxes.to(device), labels=self.labels.to(device), maps=maps)


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Predicted boxes of one frame: boxes [K, 9] as in Targets, scores [K] in 0..1, labels [K]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class MapProbabilities:
    """Predicted map of one frame: probabilities [K, X, Y] of cells as in Targets.maps."""

    probabilities: Tensor


@dataclass(frozen=True, kw_only=True)
class CalibrationParts:
    """What lidar_to_image is made of, for models that must round exactly as the published ones or
    that read the calibration itself.

    projection  [B, N, 4, 4] float32: un-augmented LiDAR frame -> (u d, v d, d, 1), stored pixels
    image       [B, N, 4, 4] float32: stored pixels (u, v) -> input pixels; rotation and scale in
                [:2, :2], shift in [:2, 3]
    lidar       [B, 4, 4] float32: un-augmented -> augmented LiDAR frame
    intrinsics  [B, N, 3, 3] float32: camera frame -> stored pixels; None where not known
    camera_to_ego  [B, N, 4, 4] float32; None where not known
    """

    projection: Tensor
    image: Tensor
    lidar: Tensor
    intrinsics: Tensor | None = None
    camera_to_ego: Tensor | None = None

    def to(self, device: torch.device | str) -> CalibrationParts:
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: v.to(device) for name, v in known.items() if v is not None}
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class SensorBatch:
    """Everything a fusion model reads of B frames.

    images             [B, N, 3, H, W] float32, normalised RGB
    points             B tensors [P, 5] float32: x, y, z (m), intensity 0..255, delta t (s)
    lidar_to_image     [B, N, 4, 4] float32: (x, y, z, 1) -> (u * d, v * d, d, 1), u and v in input
                       pixels and d the depth in metres; contains every augmentation, so its
                       inverse lifts a pixel with a depth into the (augmented) LiDAR frame
    parts              what lidar_to_image is made of; None where only the product is known
    radar              B tensors [P, RADAR_FIELDS] float32 in the (augmented) LiDAR frame; None
                       where the data have no radar
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
    radar: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def all_ones(self) -> SensorBatch:
        """The same frames with ones for all that is measured; points stay where they are."""
        images = torch.ones_like(self.images, dtype=torch.float64)
        radar = None if self.radar is None else _ones_there(self.radar)
        return replace(self, images=images, points=_ones_there(self.points), radar=radar)

    def with_points(self, points: tuple[Tensor, ...]) -> SensorBatch:
        """The same frames with other LiDAR points."""
        return replace(self, points=points)

    def to(self, device: torch.device | str) -> SensorBatch:
        """The same batch on another device (poses stay on the CPU in float64)."""
        return replace(
            self,
            images=self.images.to(device),
            points=tuple(p.to(device) for p in self.points),
            lidar_to_image=self.lidar_to_image.to(device),
            targets=tuple(t.to(device) for t in self.targets),
            parts=None if self.parts is None else self.parts.to(device),
            radar=None if self.radar is None else tuple(r.to(device) for r in self.radar),
        )


def _ones_there(clouds: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.cat([p[:, :3], torch.ones_like(p[:, 3:])], dim=1) for p in clouds)
