"""BEV map segmentation as in the published BEVFusion.

Shape legend: B frames, C channels, K map classes, X x Y cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models.camera.lift_splat import conv_layers
from sparsefront.scenes.batch import MAP_CLASSES, Targets

GAMMA = 2.0


class MapHead(nn.Module):
    """The fused map resampled to the map's own cells, then three convolutions to class logits.

    half_side_m is that of the incoming map; the outgoing one reaches reach_m in steps of cell_m.
    """

    def __init__(
        self, channels_in: int, half_side_m: float, reach_m: float = 50.0, cell_m: float = 0.5,
        classes: int = len(MAP_CLASSES),
    ) -> None:  # fmt: skip
        super().__init__()
        centres = torch.arange(-reach_m + cell_m / 2, reach_m, cell_m)
        share = (centres + half_side_m) / (2 * half_side_m) * 2 - 1  # -1..1 over the incoming map
        x, y = torch.meshgrid(share, share, indexing="ij")
        self.grid: Tensor
        self.register_buffer("grid", torch.stack([y, x], dim=-1), persistent=False)
        self.classifier = nn.Sequential(
            *conv_layers(channels_in, channels_in, 3, 1, bias=False),
            *conv_layers(channels_in, channels_in, 3, 1, bias=False),
            nn.Conv2d(channels_in, classes, 1),
        )

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        """[B, C, X, Y] -> {"map": logits [B, K, X', Y']}"""
        grid = self.grid.to(bev.dtype).expand(len(bev), -1, -1, -1)
        resampled = F.grid_sample(bev, grid, mode="bilinear", align_corners=False)
        return {"map": self.classifier(resampled)}


def map_goal(targets: Sequence[Targets]) -> Tensor:
    """Target maps [B, K, X, Y]. InputError where the data have none."""
    maps = [t.maps for t in targets]
    if any(m is None for m in maps):
        raise InputError("targets: no maps; allowed for segmentation: data read with maps: true")
    return torch.stack([m for m in maps if m is not None])


def map_losses(logits: Tensor, goal: Tensor) -> dict[str, Tensor]:
    """Sigmoid focal loss (Lin et al., ICCV 2017, without alpha) of each class, a mean of cells."""
    if logits.shape != goal.shape:
        raise InputError(
            f"targets: maps {list(goal.shape)}; allowed: {list(logits.shape)}, the head's cells"
        )
    logits, goal = logits.float(), goal.float()
    p = logits.sigmoid()
    right = p * goal + (1 - p) * (1 - goal)
    entropy = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    loss = (entropy * (1 - right) ** GAMMA).mean(dim=(0, 2, 3))
    return dict(zip(MAP_CLASSES, loss, strict=True))
