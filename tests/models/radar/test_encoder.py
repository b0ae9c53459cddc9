"""The radar encoder against a case worked out by hand."""

from __future__ import annotations

import torch

from sparsefront.models.lidar.voxelize import group_points
from sparsefront.models.radar.encoder import RadarFeatures
from sparsefront.scenes.batch import RADAR_FIELDS

LOWER, VOXEL = (0.0, 0.0, 0.0), (2.0, 2.0, 4.0)


def test_radar_positions_are_shares_of_the_range() -> None:
    cloud = torch.zeros(1, RADAR_FIELDS)
    cloud[0, :4] = torch.tensor([1.0, 3.0, 2.0, 8.0])
    grouped = group_points((cloud,), LOWER, VOXEL, (2, 2, 1), max_points=1, max_voxels=9)
    features = RadarFeatures((1,), LOWER, VOXEL, (4.0, 4.0, 4.0)).eval()
    seen = []
    features.rfn_layers[0].register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    features(grouped)
    x = seen[0][0, 0]
    assert x[:4].tolist() == [0.25, 0.75, 0.5, 8.0]
    assert x[-2:].tolist() == [0.0, 0.0]  # at the centre of its pillar (1, 3)
