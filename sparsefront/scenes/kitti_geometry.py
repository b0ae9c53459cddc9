"""Between KITTI's rectified camera frame (x right, y down, z ahead) and its images.

Shape legend: M boxes. A box in the camera frame is size [3] = height, width, length, bottom [3] =
the middle of its lower face, and its turn around y.
"""

from __future__ import annotations

import numpy as np

from sparsefront.scenes.geometry import Array

NEAREST_M = 0.1
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6),
         (3, 7))  # fmt: skip


def corners(size: Array, bottom: Array, turn: Array) -> Array:
    """[M, 8, 3]: four of the lower face, then those above them; turn [M] rad."""
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    signs = np.concatenate([signs, signs])
    along, across = signs[:, 0] * size[:, 2:3], signs[:, 1] * size[:, 1:2]  # [M, 8]
    cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x = along * cosine + across * sine
    z = across * cosine - along * sine
    y = np.repeat([0.0, -1.0], 4) * size[:, 0:1]
    out: Array = np.stack([x, y, z], axis=-1) + bottom[:, None]
    return out


def image_boxes(size: Array, bottom: Array, turn: Array, projection: Array) -> Array:
    """Left, top, right, bottom [M, 4] in pixels around the parts ahead of the camera, not clipped
    to the image; NaN where nothing is ahead. projection 3x4 (P2).
    """
    points = corners(size, bottom, turn)
    moved = points @ projection[:, :3].T + projection[:, 3]  # [M, 8, 3]
    ends = moved[:, EDGES]  # [M, 12, 2, 3]
    near, far = ends[..., 0, :], ends[..., 1, :]
    crosses = (near[..., 2] < NEAREST_M) != (far[..., 2] < NEAREST_M)
    depth = far[..., 2] - near[..., 2]
    share = (NEAREST_M - near[..., 2]) / np.where(crosses, depth, 1.0)
    cut = near + share[..., None] * (far - near)  # where an edge meets the nearest plane
    both = np.concatenate([moved, cut], axis=1)
    valid = np.concatenate([moved[..., 2] >= NEAREST_M, crosses], axis=1)[..., None]
    pixels = both[..., :2] / np.where(valid, both[..., 2:], 1.0)
    low = np.where(valid, pixels, np.inf).min(1)
    high = np.where(valid, pixels, -np.inf).max(1)
    found = np.concatenate([low, high], axis=1)
    found[~valid.any(axis=(1, 2))] = np.nan
    return found


def clip_to_image(boxes: Array, width: int, height: int) -> Array:
    """Cuts boxes [M, 4] at the borders 0..width-1, 0..height-1, as those of the labels are."""
    most = np.array([width - 1, height - 1, width - 1, height - 1], dtype=np.float64)
    out: Array = np.clip(boxes, 0.0, most)
    return out


def observed_angle(turn: Array, bottom: Array) -> Array:
    """alpha [M]: the turn less the direction in which the box is seen, in -pi..pi."""
    return wrap_angle(turn - np.arctan2(bottom[:, 0], bottom[:, 2]))


def wrap_angle(angle: Array) -> Array:
    """The same angles in -pi..pi."""
    out: Array = (angle + np.pi) % (2 * np.pi) - np.pi
    return out
