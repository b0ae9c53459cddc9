"""BEVFusion's plain view transform: depth from the image alone."""

from __future__ import annotations

from torch import Tensor, nn

from sparsefront.models.camera.lift_splat import LiftGrid, LiftSplat
from sparsefront.scenes.batch import SensorBatch


class Lss(LiftSplat):
    """One 1 x 1 convolution predicts depth logits and context."""

    def __init__(self, channels_in: int, channels_out: int, grid: LiftGrid, halves: bool) -> None:
        super().__init__(grid, channels_out, halves)
        self.depthnet = nn.Conv2d(channels_in, self.bins + channels_out, 1)

    def forward(self, features: Tensor, batch: SensorBatch) -> Tensor:
        """features [B * N, Cin, h, w] -> BEV [B, C, X, Y]"""
        return self.to_bev(self.depthnet(features), batch.lidar_to_image)
