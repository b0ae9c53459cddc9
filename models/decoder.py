"""SECOND-style BEV decoder: two resolutions, brought back to the finer one and concatenated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.camera.resnet import conv_bn_relu


class BevDecoder(nn.Module):
    """Blocks at stride 1 and 2 (SECOND backbone), 1x1 and transposed convolution (SECONDFPN)."""

    def __init__(self, channels_in: int, channels: tuple[int, int], depth: int, up: int) -> None:
        super().__init__()
        fine, coarse = channels
        self.fine = nn.Sequential(
            conv_bn_relu(channels_in, fine, 3, 1),
            *[conv_bn_relu(fine, fine, 3, 1) for _ in range(depth)],
        )
        self.coarse = nn.Sequential(
            conv_bn_relu(fine, coarse, 3, 2),
            *[conv_bn_relu(coarse, coarse, 3, 1) for _ in range(depth)],
        )
        self.up_fine = conv_bn_relu(fine, up, 1, 1)
        self.up_coarse = nn.Sequential(
            nn.ConvTranspose2d(coarse, up, 2, 2, bias=False), nn.BatchNorm2d(up), nn.ReLU()
        )

    def forward(self, bev: Tensor) -> Tensor:
        """[B, C, X, Y] -> [B, 2 * up, X, Y]"""
        fine = self.fine(bev)
        return torch.cat([self.up_fine(fine), self.up_coarse(self.coarse(fine))], dim=1)
