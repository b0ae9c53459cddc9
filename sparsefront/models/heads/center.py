"""CenterPoint head (Yin et al., CVPR 2021): class heat maps and box regressions at the centres.

Shape legend: B frames, K classes, X x Y cells. Maps are indexed [x, y].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.bev_grid import BevGrid
from sparsefront.models.camera.resnet import conv_bn_relu
from sparsefront.models.heads.center_targets import CenterTargets, center_targets
from sparsefront.models.precision import at_least_float32
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections, Targets

REGRESSIONS = {"offset": 2, "height": 1, "size": 3, "rotation": 2, "velocity": 2}
SMALL_CLASSES = ("pedestrian", "traffic_cone")
"""Classes that stand closer together than a cell: no suppression between neighbouring cells."""
REGRESSION_WEIGHT = 0.25
VELOCITY_WEIGHT = 0.2
"""CenterPoint's weights for nuScenes."""


class CenterHead(nn.Module):
    """One heat map a class and one regression a box parameter, all over one shared convolution."""

    def __init__(self, channels_in: int, channels: int, grid: BevGrid) -> None:
        super().__init__()
        self.grid = grid
        self.shared = conv_bn_relu(channels_in, channels, 3, 1)
        outputs = {"heatmap": len(DETECTION_CLASSES), **REGRESSIONS}
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(
                    conv_bn_relu(channels, channels // 2, 3, 1), nn.Conv2d(channels // 2, size, 1)
                )
                for name, size in outputs.items()
            }
        )
        heatmap = self.branches["heatmap"]
        assert isinstance(heatmap, nn.Sequential)
        last = heatmap[1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -2.19)  # prior probability of 0.1

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        """[B, C, X, Y] -> heatmap logits [B, K, X, Y] and the regressions [B, *, X, Y]"""
        shared = self.shared(bev)
        return {name: branch(shared) for name, branch in self.branches.items()}

    def loss(self, outputs: dict[str, Tensor], targets: tuple[Targets, ...]) -> Tensor:
        """Gaussian focal loss of the heat maps plus L1 of the regressions at the centres."""
        goal = center_targets(targets, self.grid, outputs["heatmap"].device)
        heatmap = gaussian_focal_loss(at_least_float32(outputs["heatmap"]), goal.heatmap)
        return heatmap + REGRESSION_WEIGHT * regression_loss(outputs, goal)

    @torch.no_grad()
    def decode(
        self, outputs: dict[str, Tensor], max_boxes: int, score_threshold: float
    ) -> list[Detections]:
        """The best peaks of each frame as boxes in the LiDAR frame, best score first."""
        heat = at_least_float32(outputs["heatmap"]).sigmoid()
        peak = F.max_pool2d(heat, 3, 1, 1) == heat
        small = [DETECTION_CLASSES.index(name) for name in SMALL_CLASSES]
        peak[:, small] = True
        heat = heat * peak
        return [
            self._decode_frame(
                {k: v[i] for k, v in outputs.items()}, heat[i], max_boxes, score_threshold
            )
            for i in range(len(heat))
        ]

    def _decode_frame(
        self, maps: dict[str, Tensor], heat: Tensor, max_boxes: int, score_threshold: float
    ) -> Detections:
        cells = self.grid.cells
        scores, flat = heat.flatten().topk(max_boxes)
        kept = scores > score_threshold
        scores, flat = scores[kept], flat[kept]
        labels, place = flat // cells**2, flat % cells**2
        at = {name: at_least_float32(maps[name]).flatten(1)[:, place].T for name in REGRESSIONS}
        cell = torch.stack([place // cells, place % cells], dim=1)
        center = (cell + 0.5 + at["offset"]) * self.grid.cell_m - self.grid.half_side_m
        yaw = torch.atan2(at["rotation"][:, :1], at["rotation"][:, 1:])
        size = at["size"].clamp(-3, 4).exp()
        boxes = torch.cat([center, at["height"], size, yaw, at["velocity"]], dim=1)
        return Detections(boxes=boxes, scores=scores, labels=labels)


def gaussian_focal_loss(logits: Tensor, goal: Tensor) -> Tensor:
    """Penalty-reduced focal loss (CornerNet, Law & Deng 2018, eq. 1; alpha 2, beta 4).

    logits and goal [B, K, X, Y]; summed and divided by the number of centres (at least 1).
    """
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    positive = goal.eq(1)
    loss = torch.where(positive, log_p * (1 - p) ** 2, log_not_p * p**2 * (1 - goal) ** 4)
    return -loss.sum() / positive.sum().clamp(min=1)


def regression_loss(outputs: dict[str, Tensor], goal: CenterTargets) -> Tensor:
    """L1 at the centres over known values, velocities weighted by VELOCITY_WEIGHT."""
    total = goal.heatmap.new_zeros(())
    if len(goal.frame) == 0:
        return total + sum(outputs[name].sum() * 0 for name in REGRESSIONS)
    column = 0
    for name, size in REGRESSIONS.items():
        predicted = at_least_float32(outputs[name]).flatten(2)[
            goal.frame, :, goal.place
        ]  # [M, size]
        wanted = goal.values[:, column : column + size]
        column += size
        error = (predicted - wanted.nan_to_num()).abs() * ~wanted.isnan()
        total = total + error.sum() * (VELOCITY_WEIGHT if name == "velocity" else 1.0)
    return total / len(goal.frame)
