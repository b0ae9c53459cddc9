"""bev_pool and cell_index against sums worked out by hand."""

from __future__ import annotations

import torch

from sparsefront.models.camera.bev_pool import bev_pool, cell_index


def test_features_are_summed_in_each_cell() -> None:
    """Cells 0, 2, 2 of three: (1), nothing, (2 + 4)."""
    features = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    pooled = bev_pool(features, torch.tensor([0, 2, 2]), 3)
    assert pooled.tolist() == [[1.0], [0.0], [6.0]]


def test_truncation_toward_zero_at_the_lower_border() -> None:
    """x = -1.5 with a grid from -1 in cells of 1 m: (-0.5).long() = 0, so the point is kept; at
    -2.1 it is -1.1 -> -1 and is dropped. (1.5 + 1) -> 2: cell (2, 1) of a 3 x 3 grid is 7."""
    points = torch.tensor([[-1.5, 0.0, 0.0], [-2.1, 0.0, 0.0], [1.5, 0.2, 0.0], [9.0, 0.0, 0.0]])
    index = cell_index(points, torch.tensor([-1.0, -1, -1]), torch.ones(3) * 1.0, (3, 3, 2))
    assert index.tolist() == [(0 * 3 + 1) * 2 + 1, -1, (2 * 3 + 1) * 2 + 1, -1]
