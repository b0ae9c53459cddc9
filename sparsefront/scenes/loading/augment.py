"""Training augmentation, expressed in the calibration matrices (as in the published BEVFusion)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.geometry import Array, transform, yaw_matrix
from sparsefront.scenes.loading.paste import PasteSpec


@dataclass(frozen=True, kw_only=True)
class AugmentSpec:
    """Ranges that are drawn from uniformly; the translation is normal.

    image_scale, image_rotate_deg, image_flip (probability) move each image; rotate_rad, scale,
    translate_m (standard deviation) and flip (probability of each axis) move the LiDAR frame;
    paste sets objects of other frames into it first.
    """

    image_scale: tuple[float, float] = (0.9, 1.1)
    image_rotate_deg: float = 5.4
    image_flip: float = 0.5
    rotate_rad: float = 0.78
    scale: tuple[float, float] = (0.95, 1.05)
    translate_m: float = 0.5
    flip: float = 0.5
    paste: PasteSpec | None = None

    def __post_init__(self) -> None:
        for name in ("image_flip", "flip"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name}: value {getattr(self, name)}; allowed: 0..1")
        for name in ("image_scale", "scale"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high:
                raise InputError(f"{name}: value {[low, high]}; allowed: low and high above 0")
        for name in ("image_rotate_deg", "rotate_rad", "translate_m"):
            if not getattr(self, name) >= 0.0:
                raise InputError(f"{name}: value {getattr(self, name)}; allowed: 0 and above")


def draw_image_matrix(
    spec: AugmentSpec, height: int, width: int, random: np.random.Generator
) -> Array:
    """3x3 that moves pixels (u, v, 1) of the plain network input to those of the augmented one."""
    scale = random.uniform(*spec.image_scale)
    angle = np.radians(random.uniform(-spec.image_rotate_deg, spec.image_rotate_deg))
    mirror = -1.0 if random.random() < spec.image_flip else 1.0
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])
    to_center = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    out: Array = np.linalg.inv(to_center) @ turn @ np.diag([mirror, 1.0, 1.0]) @ to_center
    return out


def draw_lidar_matrix(spec: AugmentSpec, random: np.random.Generator) -> Array:
    """4x4 that moves the LiDAR frame: flips, then rotation and scale, then translation."""
    angle = random.uniform(-spec.rotate_rad, spec.rotate_rad)
    scale = random.uniform(*spec.scale)
    flips = np.where(random.random(2) < spec.flip, -1.0, 1.0)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * yaw_matrix(angle) @ np.diag([*flips, 1.0])
    matrix[:3, 3] = random.normal(0.0, 1.0, 3) * spec.translate_m
    return matrix


def move_boxes(matrix: Array, boxes: Array) -> Array:
    """Boxes [M, 9] after a draw_lidar_matrix: centre, size, yaw and velocity (NaN stays NaN)."""
    turn = matrix[:3, :3]
    scale = np.cbrt(abs(np.linalg.det(turn)))
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], axis=1)
    heading = heading @ turn.T
    out = boxes.copy()
    out[:, :3] = transform(matrix, boxes[:, :3])
    out[:, 3:6] = boxes[:, 3:6] * scale
    out[:, 6] = np.arctan2(heading[:, 1], heading[:, 0])
    out[:, 7:9] = boxes[:, 7:9] @ turn[:2, :2].T
    return out
