"""Poses, projection and boxes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sparsefront.scenes.geometry import (
    box_corners,
    lidar_to_image,
    points_in_box,
    pose_matrices,
    project,
    transform,
    yaw_matrix,
)


def test_pose_by_hand() -> None:
    """A quarter turn to the left, then (10, 0, 1): the point (1, 0, 0) goes to (10, 1, 1)."""
    turn = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    pose = pose_matrices(np.array([[10.0, 0, 1]]), np.array([turn]))[0]
    assert transform(pose, np.array([[1.0, 0, 0]])) == pytest.approx(np.array([[10.0, 1, 1]]))


def test_projection_by_hand() -> None:
    """Focal length 100, centre (50, 40), point 2 right, 1 down, 4 ahead: u = 100, v = 65."""
    intrinsic = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    pixels, depth = project(lidar_to_image(intrinsic, np.eye(4)), np.array([[2.0, 1, 4]]))
    assert pixels == pytest.approx(np.array([[100.0, 65.0]]))
    assert depth == pytest.approx(np.array([4.0]))


def test_corners_and_containment_agree() -> None:
    box = np.array([[5.0, 2, 1, 4, 2, 1.5, np.pi / 6]])
    corners = box_corners(box)[0]
    center, size, turn = box[0, :3], box[0, 3:6], yaw_matrix(np.pi / 6)
    shrunk, grown = center + 0.99 * (corners - center), center + 1.01 * (corners - center)
    assert points_in_box(shrunk, center, size, turn).all()
    assert not points_in_box(grown, center, size, turn).any()
    assert np.linalg.norm(corners[0] - corners[1]) == pytest.approx(4)  # front left, rear left
    assert corners[:4, 2] == pytest.approx(np.full(4, 0.25))
