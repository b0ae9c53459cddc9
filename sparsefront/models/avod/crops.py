"""Crops boxes out of the two views, bilinearly, to one size.

Shape legend: M boxes, C channels, s samples a side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsefront.models.avod.bev_maps import Ground
from sparsefront.models.precision import full_precision

NEAREST_M = 0.5
"""Corners behind or next to the camera are projected from this depth, so that areas stay finite."""


def crop(maps: Tensor, areas: Tensor, samples: int) -> Tensor:
    """maps [C, H, W] at areas [M, 4] = first row, first column, last row, last column as shares of
    the map (0..1) -> [M, C, s, s]; zeros outside.
    """
    steps = torch.linspace(0, 1, samples, device=maps.device)
    rows = areas[:, 0:1] + (areas[:, 2:3] - areas[:, 0:1]) * steps  # [M, s]
    columns = areas[:, 1:2] + (areas[:, 3:4] - areas[:, 1:2]) * steps
    y = rows.unsqueeze(2).expand(-1, -1, samples)
    x = columns.unsqueeze(1).expand(-1, samples, -1)
    grid = (torch.stack([x, y], dim=-1) * 2 - 1).flatten(1, 2).unsqueeze(0)  # [1, M, s*s, 2]
    found = F.grid_sample(maps.unsqueeze(0), grid, align_corners=False)[0]  # [C, M, s*s]
    return found.permute(1, 0, 2).unflatten(2, (samples, samples))


def areas_from_above(boxes: Tensor, ground: Ground) -> Tensor:
    """Upright boxes [M, 6] on the map from above: [M, 4]"""
    low, high = boxes[:, :2] - boxes[:, 3:5] / 2, boxes[:, :2] + boxes[:, 3:5] / 2
    shift = boxes.new_tensor([ground.half_width, 0.0])
    extent = boxes.new_tensor([2 * ground.half_width, ground.length])
    return torch.cat([(low + shift) / extent, (high + shift) / extent], dim=1)


@full_precision
def areas_in_image(boxes: Tensor, lidar_to_image: Tensor, size: tuple[int, int]) -> Tensor:
    """The rectangles around their eight corners in the image: [M, 4]"""
    signs = torch.cartesian_prod(*[boxes.new_tensor([-0.5, 0.5])] * 3)  # [8, 3]
    corners = boxes[:, None, :3] + signs * boxes[:, None, 3:]
    ones = torch.ones_like(corners[..., :1])
    u, v, depth, _ = (torch.cat([corners, ones], -1) @ lidar_to_image.T).unbind(-1)
    depth = depth.clamp(min=NEAREST_M)
    height, width = size
    rows, columns = v / depth / height, u / depth / width
    area = [rows.amin(1), columns.amin(1), rows.amax(1), columns.amax(1)]
    return torch.stack(area, dim=1).clamp(0, 1)
