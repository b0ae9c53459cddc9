"""Pillars against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sparsefront.models.lidar.pillars import PillarFeatures, Pillars, PointLayer
from sparsefront.models.lidar.voxelize import group_points

LOWER, VOXEL = (0.0, 0.0, 0.0), (2.0, 2.0, 4.0)


def test_pillar_features_by_hand() -> None:
    """Fields, offsets from the mean of two points, offsets from the pillar's centre (1, 1)."""
    cloud = torch.tensor([[0.5, 1.0, 1.0, 7.0, 0.1], [1.5, 1.0, 3.0, 5.0, 0.2]])
    grouped = group_points((cloud,), LOWER, VOXEL, (1, 1, 1), max_points=3, max_voxels=9)
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x.amax(1)

    features = PillarFeatures(5, (4,), LOWER, VOXEL)
    features.register_parameter("dtype_of", torch.nn.Parameter(torch.zeros(())))
    features.pfn_layers = torch.nn.ModuleList([Spy()])
    features(grouped)
    first, second, none = seen[0][0]
    assert torch.allclose(first, torch.tensor([0.5, 1, 1, 7, 0.1, -0.5, 0, -1, -0.5, 0]))
    assert torch.allclose(second, torch.tensor([1.5, 1, 3, 5, 0.2, 0.5, 0, 1, 0.5, 0]))
    assert not none.any()


def test_padded_positions_count_in_the_maximum() -> None:
    """Of one point with value -1 the largest is what the norm makes of the padding: beta = 3."""
    layer = PointLayer(1, 1, "largest").eval()
    with torch.no_grad():
        layer.linear.weight.fill_(1.0)
        layer.norm.bias.fill_(3.0)
    x = torch.tensor([[[-1.0], [0.0]]])
    assert layer(x).item() == pytest.approx(3.0)
    assert layer(x[:, :1]).item() == pytest.approx(2.0, abs=1e-2)


def test_pillars_land_in_their_cells() -> None:
    torch.manual_seed(0)
    net = Pillars((4,), (0.0, 0.0, 0.0), (6.0, 4.0, 4.0), VOXEL, 2, (9, 9)).eval()
    cloud = torch.tensor([[5.0, 1.0, 1.0, 7.0, 0.1]])
    bev = net((cloud, cloud - torch.tensor([4.0, 0, 0, 0, 0])))
    assert bev.shape == (2, 4, 3, 2)
    assert bev[0, :, 2, 0].abs().sum() > 0
    assert bev[0].abs().sum() == bev[0, :, 2, 0].abs().sum()
    assert bev[1, :, 0, 0].abs().sum() > 0
