"""Feature pyramid neck that hands on one map (as BEVFusion's LSS neck does)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.camera.resnet import conv_bn_relu


class LssFpn(nn.Module):
    """Upsample the coarse map, concatenate, 1x1 then 3x3 convolution."""

    def __init__(self, fine_channels: int, coarse_channels: int, channels: int) -> None:
        super().__init__()
        self.lateral = conv_bn_relu(fine_channels + coarse_channels, channels, 1, 1)
        self.smooth = conv_bn_relu(channels, channels, 3, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """fine [B, C1, H, W], coarse [B, C2, H/2, W/2] -> [B, C, H, W]"""
        up = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.smooth(self.lateral(torch.cat([fine, up], dim=1)))
        return out
