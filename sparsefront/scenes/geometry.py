"""Poses, boxes and projections as 4x4 and plain arrays, in float64."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pose_matrices(translations: Array, rotations: Array) -> Array:
    """[N, 4, 4] of translations [N, 3] in metres and quaternions [N, 4] (w, x, y, z)."""
    poses = np.tile(np.eye(4), (len(translations), 1, 1))
    poses[:, :3, :3] = rotation_matrices(rotations)
    poses[:, :3, 3] = translations
    return poses


def rotation_matrices(quaternions: Array) -> Array:
    """[N, 3, 3] of quaternions [N, 4] (w, x, y, z), bit for bit as pyquaternion's rotation_matrix.

    Its product of two 4 x 4 matrices, done for all at once.
    """
    q = np.asarray(quaternions, dtype=np.float64).reshape(-1, 4)
    squared = np.array([np.dot(row, row) for row in q])
    unit = np.abs(1.0 - squared) < 1e-14
    size = np.where(unit | (squared == 0), 1.0, np.sqrt(squared))
    w, x, y, z = (q / size[:, None]).T
    left = np.stack([w, -x, -y, -z, x, w, -z, y, y, z, w, -x, z, -y, x, w], axis=1)
    right = np.stack([w, -x, -y, -z, x, w, z, -y, y, -z, w, x, z, y, -x, w], axis=1)
    product = np.matmul(left.reshape(-1, 4, 4), right.reshape(-1, 4, 4).swapaxes(1, 2))
    return np.asarray(product[:, 1:, 1:])


def transform(matrix: Array, points: Array) -> Array:
    """Moves points [P, 3] by a 4x4."""
    out: Array = points @ matrix[:3, :3].T + matrix[:3, 3]
    return out


def lidar_to_image(intrinsic: Array, lidar_to_camera: Array) -> Array:
    """4x4 that takes (x, y, z, 1) to (u d, v d, d, 1), u and v in pixels of the stored image."""
    camera_to_image = np.eye(4)
    camera_to_image[:3, :3] = intrinsic
    out: Array = camera_to_image @ lidar_to_camera
    return out


def project(matrix: Array, points: Array) -> tuple[Array, Array]:
    """Pixels [P, 2] and depths [P] of points [P, 3]; pixels mean nothing where depth <= 0."""
    moved = transform(matrix, points)
    depth = moved[:, 2]
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    return moved[:, :2] / safe[:, None], depth


def box_corners(boxes: Array) -> Array:
    """Corners [M, 8, 3] of boxes [M, 7+] = x, y, z of the centre, length, width, height, yaw.

    The first four lie at the bottom, counter-clockwise from front left; the last four above them.
    """
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    unit = np.array([[*s, z] for z in (-0.5, 0.5) for s in signs])  # [8, 3]
    local = unit[None] * boxes[:, None, 3:6]
    cosine, sine = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    x = local[..., 0] * cosine[:, None] - local[..., 1] * sine[:, None]
    y = local[..., 0] * sine[:, None] + local[..., 1] * cosine[:, None]
    out: Array = np.stack([x, y, local[..., 2]], axis=-1) + boxes[:, None, :3]
    return out


def points_in_box(points: Array, center: Array, size: Array, rotation: Array) -> NDArray[np.bool_]:
    """Which of points [P, 3] lie in one box, borders included.

    center [3], size [3] = length, width, height, rotation [3, 3] box -> frame of the points.
    """
    local = (points - center) @ rotation
    inside: NDArray[np.bool_] = (np.abs(local) <= size / 2).all(axis=1)
    return inside


@njit(cache=True, nogil=True)
def points_in_boxes(points: NDArray[np.float32], boxes: Array) -> NDArray[np.bool_]:
    """[M, P] which of points [P, 3+] lie in boxes [M, 7+] (x, y, z of the centre, length, width,
    height, yaw), borders included.
    """
    inside = np.zeros((len(boxes), len(points)), np.bool_)
    for box in range(len(boxes)):
        cosine, sine = np.cos(boxes[box, 6]), np.sin(boxes[box, 6])
        for point in range(len(points)):
            x, y = points[point, 0] - boxes[box, 0], points[point, 1] - boxes[box, 1]
            inside[box, point] = (
                abs(points[point, 2] - boxes[box, 2]) <= boxes[box, 5] / 2
                and abs(x * cosine + y * sine) <= boxes[box, 3] / 2
                and abs(y * cosine - x * sine) <= boxes[box, 4] / 2
            )
    return inside


def yaw_matrix(yaw: float) -> Array:
    """3x3 of a turn about z."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
