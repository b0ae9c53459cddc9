"""Feature pyramid necks: maps of several strides to one map, as in BEVFusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.camera.resnet import conv_bn_relu
from sparsefront.models.conv_norm import conv2d_norm


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


class Fpnc(nn.Module):
    """A feature pyramid (Lin et al., CVPR 2017) whose five maps are brought to one size and joined
    (ADLab's BEVFusion): the first is pooled, the others interpolated with corners aligned.
    """

    def __init__(self, channels_in: tuple[int, ...], channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.lateral_convs = nn.ModuleList(Conv(c, channels, 1) for c in channels_in)
        self.fpn_convs = nn.ModuleList(Conv(channels, channels, 3) for _ in channels_in)
        pool: nn.Module = nn.AdaptiveAvgPool2d(size)
        resize = [pool, *(_up(size) for _ in channels_in)]
        self.adp = nn.ModuleList(nn.Sequential(r, Conv(channels, channels, 1)) for r in resize)
        self.reduc_conv = Conv((len(channels_in) + 1) * channels, channels, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse -> [B, C, *size]"""
        sides = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for i in reversed(range(len(sides) - 1)):
            up = F.interpolate(sides[i + 1], size=sides[i].shape[-2:], mode="nearest")
            sides[i] = sides[i] + up
        found = [conv(x) for conv, x in zip(self.fpn_convs, sides, strict=True)]
        found.append(F.max_pool2d(found[-1], 1, stride=2))
        fitted = [fit(x) for fit, x in zip(self.adp, found, strict=True)]
        out: Tensor = self.reduc_conv(torch.cat(fitted, dim=1))
        return out


class Conv(nn.Module):
    """A convolution under the name conv, as mmcv's ConvModule without norm and activation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def _up(size: tuple[int, int]) -> nn.Module:
    return nn.Upsample(size=size, mode="bilinear", align_corners=True)


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
