"""Voxel means worked out by hand."""

from __future__ import annotations

import torch

from sparsefront.models.lidar.voxelize import voxelize


def test_mean_of_the_points_of_a_voxel() -> None:
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
