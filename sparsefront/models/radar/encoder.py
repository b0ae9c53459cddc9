"""The radar stream of the published BEVFusion-R: pillars of radar points to a BEV map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsefront.models.lidar.pillars import Pillars, pillar_centres, point_layers, run_layers
from sparsefront.models.lidar.voxelize import GroupedPoints
from sparsefront.scenes.batch import RADAR_FIELDS

Triple = tuple[float, float, float]


class RadarFeatures(nn.Module):
    """Points' fields with positions as shares of the range, and offsets from pillar centres."""

    def __init__(
        self, channels: tuple[int, ...], lower_m: Triple, voxel_m: Triple, extent_m: Triple
    ) -> None:
        super().__init__()
        self.lower_m, self.voxel_m, self.extent_m = lower_m, voxel_m, extent_m
        self.rfn_layers = point_layers(RADAR_FIELDS + 2, channels, "points")

    def forward(self, grouped: GroupedPoints) -> Tensor:
        """-> [V, C]"""
        points = grouped.points.to(next(self.parameters()).dtype)
        centre = pillar_centres(grouped, self.lower_m, self.voxel_m).to(points)
        share = (points[..., :3] - points.new_tensor(self.lower_m)) / points.new_tensor(
            self.extent_m
        )
        x = [share, points[..., 3:], points[..., :2] - centre.unsqueeze(1)]
        return run_layers(self.rfn_layers, torch.cat(x, dim=2).nan_to_num(), grouped)


class RadarEncoder(Pillars):
    """Radar points to a BEV map [B, C, X, Y]."""

    def point_network(self, channels: tuple[int, ...]) -> nn.Module:
        cells, size = self.cells, self.voxel_m
        extent = (cells[0] * size[0], cells[1] * size[1], cells[2] * size[2])
        return RadarFeatures(channels, self.lower_m, size, extent)
