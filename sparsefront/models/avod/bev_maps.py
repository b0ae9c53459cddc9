"""The input of AVOD's LiDAR branch: height slices and density of points, from above.

Shape legend: B frames, P points, S slices, X x Y cells. x is right, y is forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsefront.models.precision import full_precision
from sparsefront.scenes.batch import SensorBatch


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The area that is searched, m: x within +-half_width, y from 0 to length; heights from
    `bottom`, `slices` of them; cells of cell_m. A flat road lies at road_m.
    """

    half_width: float = 40.0
    length: float = 70.0
    cell_m: float = 0.1
    bottom: float = -1.93
    top: float = 0.57
    slices: int = 5
    road_m: float = -1.73

    @property
    def cells(self) -> tuple[int, int]:
        return round(2 * self.half_width / self.cell_m), round(self.length / self.cell_m)


@full_precision
def points_in_image(batch: SensorBatch, frame: int) -> Tensor:
    """The frame's points that project into its image, as boxes are labelled only there."""
    points = batch.points[frame]
    height, width = batch.images.shape[-2:]
    ones = torch.ones_like(points[:, :1])
    u, v, depth, _ = (torch.cat([points[:, :3], ones], 1) @ batch.lidar_to_image[frame, 0].T).T
    away = depth.clamp(min=1e-3)
    inside = (u >= 0) & (u < width * away) & (v >= 0) & (v < height * away) & (depth > 0)
    return points[inside]


def bev_maps(clouds: list[Tensor], ground: Ground) -> Tensor:
    """[B, S + 1, X, Y]: the greatest height in each slice as a share of the whole height, and
    min(1, log(n + 1) / log 16) of the n points of a cell (AVOD, sec. III-A).
    """
    x_cells, y_cells = ground.cells
    maps = clouds[0].new_zeros(len(clouds), ground.slices + 1, x_cells * y_cells)
    extent = ground.top - ground.bottom
    for frame, points in enumerate(clouds):
        x = ((points[:, 0] + ground.half_width) / ground.cell_m).floor().long()
        y = (points[:, 1] / ground.cell_m).floor().long()
        z = (points[:, 2] - ground.bottom) / extent
        inside = (x >= 0) & (x < x_cells) & (y >= 0) & (y < y_cells) & (z >= 0) & (z < 1)
        cell, z = (x * y_cells + y)[inside], z[inside]
        part = (z * ground.slices).long()
        flat = maps[frame].view(-1)
        flat.scatter_reduce_(0, part * x_cells * y_cells + cell, z, "amax")
        count = torch.bincount(cell, minlength=x_cells * y_cells)
        maps[frame, -1] = ((count + 1).log() / math.log(16)).clamp(max=1)
    return maps.unflatten(2, (x_cells, y_cells))
