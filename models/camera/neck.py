"""Feature pyramid neck that hands on one map (as BEVFusion's LSS neck does)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.camera.resnet import conv_bn_relu
from models.conv_norm import conv2d_norm


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


class GeneralizedLssFpn(nn.Module):
    """Top-down: the coarser map upsampled (align_corners False), concatenated, 1x1, then 3x3."""

    def __init__(self, channels_in: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lateral_convs, self.fpn_convs = nn.ModuleList(), nn.ModuleList()
        last = len(channels_in) - 1
        for i in range(last):
            coarser = channels_in[i + 1] if i == last - 1 else channels
            self.lateral_convs.append(conv2d_norm(channels_in[i] + coarser, channels, 1))
            self.fpn_convs.append(conv2d_norm(channels, channels, 3))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse -> as many less one, all of `channels`"""
        found = [maps[-1]]
        for i in reversed(range(len(maps) - 1)):
            up = F.interpolate(
                found[0], size=maps[i].shape[-2:], mode="bilinear", align_corners=False
            )
            x = self.lateral_convs[i](torch.cat([maps[i], up], dim=1))
            found.insert(0, self.fpn_convs[i](x))
        return found[:-1]
