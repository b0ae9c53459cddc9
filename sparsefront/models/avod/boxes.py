"""Boxes of AVOD: upright anchors, their offsets, and boxes as four ground corners.

Shape legend: A anchors, M boxes, K classes. An upright box is x, y, z of the centre and its sides
along x, y and z [6]; a box is x, y, z, length, width, height, yaw of the length axis
counter-clockwise from +x [7]; all in metres, x right, y forward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsefront.models.avod.bev_maps import Ground

SIGNS = ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0))


def anchor_grid(
    ground: Ground, sizes_m: tuple[tuple[float, float, float], ...], step: float
) -> Tensor:
    """Upright boxes [A, 6] on the road, each size (length, width, height) along y and along x."""
    x = torch.arange(-ground.half_width + step / 2, ground.half_width, step)
    y = torch.arange(step / 2, ground.length, step)
    place = torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1).view(-1, 1, 2)
    kinds = torch.tensor(
        [
            [ground.road_m + height / 2, *sides, height]
            for length, width, height in sizes_m
            for sides in ((width, length), (length, width))
        ]
    )
    each = len(kinds)
    return torch.cat([place.expand(-1, each, 2), kinds.expand(len(place), -1, -1)], 2).flatten(0, 1)


def find_occupied(
    anchors: Tensor, density: Tensor, ground: Ground, margin_m: float = 0.0
) -> Tensor:
    """Which anchors have a point on their ground or within a margin of it, by an integral image of
    the density [X, Y].
    """
    total = torch.zeros(density.shape[0] + 1, density.shape[1] + 1, device=density.device)
    total[1:, 1:] = (density > 0).float().cumsum(0).cumsum(1)
    lower = anchors[:, :2] - anchors[:, 3:5] / 2 - margin_m
    upper = anchors[:, :2] + anchors[:, 3:5] / 2 + margin_m
    shift = anchors.new_tensor([ground.half_width, 0.0])
    limit = torch.tensor(density.shape, device=anchors.device)
    a = ((lower + shift) / ground.cell_m).floor().long().clamp(min=0).minimum(limit)
    b = ((upper + shift) / ground.cell_m).ceil().long().clamp(min=0).minimum(limit)
    inside = total[b[:, 0], b[:, 1]] - total[a[:, 0], b[:, 1]]
    return inside - total[b[:, 0], a[:, 1]] + total[a[:, 0], a[:, 1]] > 0


def to_upright(boxes: Tensor) -> Tensor:
    """Turns boxes [M, 7] to the nearest axis: [M, 6]"""
    odd = quarter_turns(boxes[:, 6]) % 2 == 1
    sides = torch.where(odd.unsqueeze(1), boxes[:, [4, 3]], boxes[:, [3, 4]])
    return torch.cat([boxes[:, :3], sides, boxes[:, 5:6]], dim=1)


def quarter_turns(yaw: Tensor) -> Tensor:
    return (yaw / (math.pi / 2)).round().long()


def ground_overlap(ours: Tensor, theirs: Tensor) -> Tensor:
    """Intersection over union on the ground of upright boxes: [A, M]"""
    low = torch.maximum(
        (ours[:, :2] - ours[:, 3:5] / 2).unsqueeze(1), theirs[:, :2] - theirs[:, 3:5] / 2
    )
    high = torch.minimum(
        (ours[:, :2] + ours[:, 3:5] / 2).unsqueeze(1), theirs[:, :2] + theirs[:, 3:5] / 2
    )
    common = (high - low).clamp(min=0).prod(2)
    return common / (ours[:, 3:5].prod(1).unsqueeze(1) + theirs[:, 3:5].prod(1) - common)


def encode_upright(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Shifts over the anchor's sides and logarithms of the sides [A, 6] (AVOD, sec. III-C)."""
    shift = (boxes[:, :3] - anchors[:, :3]) / anchors[:, 3:]
    return torch.cat([shift, (boxes[:, 3:] / anchors[:, 3:]).log()], dim=1)


def decode_upright(anchors: Tensor, offsets: Tensor) -> Tensor:
    """The inverse of encode_upright; sides change by a factor of e at most."""
    centre = anchors[:, :3] + offsets[:, :3] * anchors[:, 3:]
    return torch.cat([centre, anchors[:, 3:] * offsets[:, 3:].clamp(-1, 1).exp()], dim=1)


def ground_corners(boxes: Tensor) -> Tensor:
    """Corners [M, 4, 2] of boxes [M, 7], named by the nearest axis so that they meet those of an
    upright box.
    """
    turns = quarter_turns(boxes[:, 6])
    rest = boxes[:, 6] - turns * (math.pi / 2)
    sides = torch.where((turns % 2 == 1).unsqueeze(1), boxes[:, [4, 3]], boxes[:, [3, 4]])
    corners = boxes.new_tensor(SIGNS) * sides.unsqueeze(1) / 2  # [M, 4, 2]
    cosine, sine = rest.cos().view(-1, 1), rest.sin().view(-1, 1)
    x = corners[..., 0] * cosine - corners[..., 1] * sine
    y = corners[..., 0] * sine + corners[..., 1] * cosine
    return torch.stack([x, y], dim=-1) + boxes[:, None, :2]


def encode_corners(proposals: Tensor, boxes: Tensor) -> Tensor:
    """Offsets [M, 10] of four corners over the proposal's diagonal and of bottom and top over its
    height (AVOD, sec. III-D: four corners and two heights).
    """
    still = torch.cat([proposals, torch.zeros_like(proposals[:, :1])], dim=1)
    diagonal = proposals[:, 3:5].norm(dim=1).view(-1, 1, 1)
    corners = (ground_corners(boxes) - ground_corners(still)) / diagonal
    heights = _heights(boxes[:, 2], boxes[:, 5]) - _heights(proposals[:, 2], proposals[:, 5])
    return torch.cat([corners.flatten(1), heights / proposals[:, 5:6]], dim=1)


def decode_corners(proposals: Tensor, offsets: Tensor, heading: Tensor) -> Tensor:
    """Boxes [M, 7] from corner offsets [M, 10] and heading [M, 2] = cosine and sine of yaw."""
    still = torch.cat([proposals, torch.zeros_like(proposals[:, :1])], dim=1)
    diagonal = proposals[:, 3:5].norm(dim=1).view(-1, 1, 1)
    corners = ground_corners(still) + offsets[:, :8].view(-1, 4, 2) * diagonal
    heights = _heights(proposals[:, 2], proposals[:, 5]) + offsets[:, 8:] * proposals[:, 5:6]
    along_x = (corners[:, 0] + corners[:, 3] - corners[:, 1] - corners[:, 2]) / 2
    along_y = (corners[:, 0] + corners[:, 1] - corners[:, 2] - corners[:, 3]) / 2
    by_x = F.cosine_similarity(along_x, heading).abs()
    by_y = F.cosine_similarity(along_y, heading).abs()
    is_x = (by_x >= by_y).unsqueeze(1)
    axis = torch.where(is_x, along_x, along_y)
    across = torch.where(is_x, along_y, along_x).norm(dim=1)
    axis = axis * (axis * heading).sum(1, keepdim=True).sign()
    yaw = torch.atan2(axis[:, 1], axis[:, 0])
    centre = corners.mean(1)
    bottom, top = heights.unbind(1)
    return torch.stack(
        [
            centre[:, 0], centre[:, 1], (bottom + top) / 2, axis.norm(dim=1), across,
            (top - bottom).clamp(min=0.1), yaw,
        ],
        dim=1,
    )  # fmt: skip


def _heights(z: Tensor, height: Tensor) -> Tensor:
    """Bottom and top [M, 2]"""
    return torch.stack([z - height / 2, z + height / 2], dim=1)
