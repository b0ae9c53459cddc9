"""Concatenation and convolution of the modalities' BEV maps (BEVFusion's ConvFuser)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.camera.resnet import conv_bn_relu


class ConvFuser(nn.Module):
    """Camera channels first, then LiDAR, then 3x3 convolution, batch norm, ReLU."""

    def __init__(self, camera_channels: int, lidar_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(camera_channels + lidar_channels, channels, 3, 1)

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        out: Tensor = self.conv(torch.cat([camera, lidar], dim=1))
        return out


class ConcatConv(nn.Sequential):
    """The same under the published names: 0 the convolution, 1 the batch norm."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, X, Y] -> [B, C, X, Y]"""
        out: Tensor = super().forward(torch.cat(maps, dim=1))
        return out
