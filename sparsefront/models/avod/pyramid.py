"""The feature pyramid of AVOD-FPN: half of VGG-16 down, transposed convolutions up to full size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.camera.resnet import conv_bn_relu

DEPTHS = (2, 2, 3, 3)
"""Convolutions a level, as in VGG-16."""


class Pyramid(nn.Module):
    """[B, Cin, H, W] -> [B, channels[0], H, W]; inside, sides are padded to multiples of 8."""

    def __init__(self, channels_in: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.down, self.up, self.fuse = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        entering = channels_in
        for width, depth in zip(channels, DEPTHS, strict=True):
            layers = [conv_bn_relu(entering, width, 3, 1)]
            layers += [conv_bn_relu(width, width, 3, 1) for _ in range(depth - 1)]
            self.down.append(nn.Sequential(*layers))
            entering = width
        for fine, coarse in pairwise(channels):
            self.up.append(
                nn.Sequential(
                    nn.ConvTranspose2d(coarse, fine, 2, 2, bias=False),
                    nn.BatchNorm2d(fine),
                    nn.ReLU(),
                )
            )
            self.fuse.append(conv_bn_relu(2 * fine, fine, 3, 1))
        self.channels_out = channels[0]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % 8, 0, -height % 8))
        sides = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            sides.append(x)
        for level in reversed(range(len(self.up))):
            x = self.fuse[level](torch.cat([self.up[level](x), sides[level]], dim=1))
        return x[..., :height, :width]
