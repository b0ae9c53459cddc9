"""Voxels worked out by hand: means and groups of points."""

from __future__ import annotations

import torch

from sparsefront.models.lidar.voxelize import group_points, voxelize


def test_voxels_hold_the_mean_of_their_points() -> None:
    """Two points in voxel (0, 0, 0), one in (1, 0, 1), one outside; a second frame of one point."""
    first = torch.tensor(
        [[0.2, 0.2, 0.2, 10, 0], [0.6, 0.4, 0.2, 30, 0.5], [1.5, 0.1, 1.1, 7, 0], [5, 0, 0, 0, 0]]
    )
    second = torch.tensor([[1.2, 1.2, 0.1, 3.0, 0]])
    features, coordinates = voxelize((first, second), (0, 0, 0), (1, 1, 1), (2, 2, 2))
    assert coordinates.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 0]]
    expected = torch.tensor(
        [[0.4, 0.3, 0.2, 20, 0.25], [1.5, 0.1, 1.1, 7, 0], [1.2, 1.2, 0.1, 3, 0]]
    )
    torch.testing.assert_close(features, expected)


def test_voxels_keep_their_first_points() -> None:
    """The first two points of a voxel, zeros after them; voxels entered first stay."""
    lower, voxel = (0.0, 0.0, 0.0), (2.0, 2.0, 4.0)
    cloud = torch.tensor(
        [
            [3.0, 1, 1, 9, 0],
            [1.0, 1, 1, 1, 0],
            [1.5, 1, 1, 2, 0],
            [0.5, 1, 1, 3, 0],
            [9, 9, 9, 0, 0],
        ]
    )
    found = group_points((cloud,), lower, voxel, (2, 2, 1), max_points=2, max_voxels=9)
    assert found.coordinates.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert found.count.tolist() == [2, 1]
    assert found.points[0, :, 3].tolist() == [1, 2]
    assert found.points[1, :, 3].tolist() == [9, 0]
    one = group_points((cloud,), lower, voxel, (2, 2, 1), max_points=2, max_voxels=1)
    assert one.coordinates.tolist() == [[0, 1, 0, 0]]
