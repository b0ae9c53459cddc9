"""PointPillars (Lang et al., CVPR 2019) as in the published BEVFusion: the points of each pillar
through small networks, the largest of each feature scattered to the bird's-eye view.

Shape legend: V pillars, P points a pillar (padded with zeros), C channels, X x Y cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsefront.models.lidar.voxelize import GroupedPoints, group_points
from sparsefront.models.precision import full_precision

EPS, MOMENTUM = 1e-3, 0.01
"""Of the batch norms, as published."""
Triple = tuple[float, float, float]


class PointLayer(nn.Module):
    """Linear, batch norm, ReLU on every point; padded positions count as zeros, as published.

    `joins` is what the layer returns: the points' features and their largest side by side ("both"),
    the features alone ("points"), or the largest alone ("largest").
    """

    def __init__(self, channels_in: int, channels_out: int, joins: str) -> None:
        super().__init__()
        self.joins = joins
        width = channels_out // 2 if joins == "both" else channels_out
        self.linear = nn.Linear(channels_in, width, bias=False)
        self.norm = nn.BatchNorm1d(width, eps=EPS, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """[V, P, Cin] -> [V, P, Cout], or [V, Cout] where only the largest go on"""
        x = self.norm(self.linear(x).transpose(1, 2)).transpose(1, 2).relu()
        if self.joins == "points":
            return x
        largest = x.amax(dim=1)
        if self.joins == "largest":
            return largest
        return torch.cat([x, largest.unsqueeze(1).expand_as(x)], dim=2)


class PillarFeatures(nn.Module):
    """Points' own fields, offsets from the pillar's mean point and from its centre."""

    def __init__(
        self, fields: int, channels: tuple[int, ...], lower_m: Triple, voxel_m: Triple
    ) -> None:
        super().__init__()
        self.lower_m, self.voxel_m = lower_m, voxel_m
        self.pfn_layers = point_layers(fields + 5, channels, "both")

    def forward(self, grouped: GroupedPoints) -> Tensor:
        """-> [V, C]"""
        points = grouped.points.to(next(self.parameters()).dtype)
        mean = points[..., :3].sum(1, keepdim=True) / grouped.count.view(-1, 1, 1)
        centre = pillar_centres(grouped, self.lower_m, self.voxel_m).to(points)
        x = [points, points[..., :3] - mean, points[..., :2] - centre.unsqueeze(1)]
        return run_layers(self.pfn_layers, torch.cat(x, dim=2), grouped)


class Pillars(nn.Module):
    """Points to a BEV map [B, C, X, Y]."""

    def __init__(
        self,
        channels: tuple[int, ...] = (64, 64),
        lower_m: Triple = (-51.2, -51.2, -5.0),
        upper_m: Triple = (51.2, 51.2, 3.0),
        voxel_m: Triple = (0.2, 0.2, 8.0),
        max_points: int = 20,
        max_voxels: tuple[int, int] = (30_000, 60_000),
    ) -> None:
        super().__init__()
        self.lower_m, self.voxel_m = lower_m, voxel_m
        axes = zip(lower_m, upper_m, voxel_m, strict=True)
        x, y, z = (round((high - low) / size) for low, high, size in axes)
        self.cells = (x, y, z)
        self.max_points, self.max_voxels = max_points, max_voxels
        self.pts_voxel_encoder = self.point_network(channels)

    def point_network(self, channels: tuple[int, ...]) -> nn.Module:
        return PillarFeatures(5, channels, self.lower_m, self.voxel_m)

    def group(self, points: tuple[Tensor, ...]) -> GroupedPoints:
        return group_points(
            points, self.lower_m, self.voxel_m, self.cells, max_points=self.max_points,
            max_voxels=self.max_voxels[0 if self.training else 1],
        )  # fmt: skip

    @full_precision
    def forward(self, points: tuple[Tensor, ...]) -> Tensor:
        """B tensors [P, fields] -> [B, C, X, Y]"""
        grouped = self.group(points)
        features: Tensor = self.pts_voxel_encoder(grouped)
        frame, x, y, _ = grouped.coordinates.long().unbind(1)
        canvas = features.new_zeros(len(points), *self.cells[:2], features.shape[1])
        return canvas.index_put((frame, x, y), features).permute(0, 3, 1, 2).contiguous()

    @property
    def channels_out(self) -> int:
        last = list(self.pts_voxel_encoder.modules())[-1]
        assert isinstance(last, nn.BatchNorm1d)
        return last.num_features


class VoxelFeatures(nn.Module):
    """The same with SECOND's voxel features: x, y, z and age of points, offsets from the mean
    point and from the voxel's centre in x, y and z; layers twice as wide inside.
    """

    FIELDS = (0, 1, 2, 4)

    def __init__(self, channels: tuple[int, ...], lower_m: Triple, voxel_m: Triple) -> None:
        super().__init__()
        self.lower_m, self.voxel_m = lower_m, voxel_m
        wide = (*(2 * width for width in channels[:-1]), channels[-1])
        self.pfn_layers = point_layers(len(self.FIELDS) + 6, wide, "both")

    def forward(self, grouped: GroupedPoints) -> Tensor:
        """-> [V, C]"""
        points = grouped.points[..., list(self.FIELDS)].to(next(self.parameters()).dtype)
        mean = points[..., :3].sum(1, keepdim=True) / grouped.count.view(-1, 1, 1)
        size = points.new_tensor(self.voxel_m)
        centre = grouped.coordinates[:, 1:] * size + points.new_tensor(self.lower_m) + size / 2
        x = [points, points[..., :3] - mean, points[..., :3] - centre.unsqueeze(1)]
        return run_layers(self.pfn_layers, torch.cat(x, dim=2), grouped)


def point_layers(channels_in: int, channels: tuple[int, ...], inside: str) -> nn.ModuleList:
    """PointLayers, all but the last joining as `inside` says."""
    widths = (channels_in, *channels)
    last = len(channels) - 1
    return nn.ModuleList(
        PointLayer(widths[i], widths[i + 1], "largest" if i == last else inside)
        for i in range(len(channels))
    )


def pillar_centres(grouped: GroupedPoints, lower_m: Triple, voxel_m: Triple) -> Tensor:
    """x and y of each pillar's centre [V, 2] m"""
    size = torch.tensor(voxel_m[:2], device=grouped.coordinates.device)
    first = torch.tensor(lower_m[:2], device=grouped.coordinates.device) + size / 2
    return grouped.coordinates[:, 1:3] * size + first


def run_layers(layers: nn.ModuleList, x: Tensor, grouped: GroupedPoints) -> Tensor:
    """Runs point layers over [V, P, C] with padded positions at zero -> [V, C]"""
    there = torch.arange(x.shape[1], device=x.device) < grouped.count.unsqueeze(1)  # [V, P]
    x = x * there.unsqueeze(2)
    for layer in layers:
        x = layer(x)
    return x
