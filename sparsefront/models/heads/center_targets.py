"""Ground truth of the CenterPoint head: Gaussian heat maps and regression values at the centres."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsefront.models.bev_grid import BevGrid
from sparsefront.scenes.batch import DETECTION_CLASSES, Targets

MIN_SIGMA_CELLS = 0.6
"""A pedestrian is smaller than a cell: its neighbours still get a share of the peak."""


@dataclass(frozen=True, kw_only=True)
class CenterTargets:
    """heatmap [B, K, X, Y]; for each of M boxes inside the grid its frame [M], its flat cell
    place [M] and its values [M, 10] = offset 2, height, log size 3, sin and cos of yaw, velocity 2.
    """

    heatmap: Tensor
    frame: Tensor
    place: Tensor
    values: Tensor


def center_targets(
    targets: tuple[Targets, ...], grid: BevGrid, device: torch.device
) -> CenterTargets:
    """Targets of a batch on `device`; boxes whose centre is outside the grid are left out."""
    cells = grid.cells
    heatmap = torch.zeros(len(targets), len(DETECTION_CLASSES), cells, cells, device=device)
    frames, places, values = [], [], []
    axis = torch.arange(cells, device=device)
    for frame, target in enumerate(targets):
        boxes = target.boxes.to(device)
        position = (boxes[:, :2] + grid.half_side_m) / grid.cell_m
        inside = ((position >= 0) & (position < cells)).all(1)
        boxes, position, labels = boxes[inside], position[inside], target.labels.to(device)[inside]
        cell = position.long()
        spread = boxes[:, 3:5].amin(1) / grid.cell_m / 3
        sigma = spread.clamp(min=MIN_SIGMA_CELLS).view(-1, 1)
        in_x = torch.exp(-((axis - cell[:, :1]) ** 2) / (2 * sigma**2))  # [M, X]
        in_y = torch.exp(-((axis - cell[:, 1:]) ** 2) / (2 * sigma**2))  # [M, Y]
        peaks = in_x[:, :, None] * in_y[:, None, :]
        for label, peak in zip(labels.tolist(), peaks, strict=True):
            heatmap[frame, label] = torch.maximum(heatmap[frame, label], peak)
        yaw = boxes[:, 6:7]
        values.append(
            torch.cat(
                [
                    position - cell - 0.5,
                    boxes[:, 2:3],
                    boxes[:, 3:6].log(),
                    yaw.sin(),
                    yaw.cos(),
                    boxes[:, 7:9],
                ],
                dim=1,
            )
        )
        frames.append(torch.full((len(boxes),), frame, device=device))
        places.append(cell[:, 0] * cells + cell[:, 1])
    return CenterTargets(
        heatmap=heatmap,
        frame=torch.cat(frames),
        place=torch.cat(places),
        values=torch.cat(values).float(),
    )
