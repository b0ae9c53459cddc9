"""Deformable convolution (Dai et al., ICCV 2017) with torch operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DeformConv(nn.Module):
    """Same size, no bias; every tap reads at its position plus an offset that a convolution
    predicts: channels (row, column) of each tap, taps by rows. What the taps read is laid out side
    by side, so that an ordinary convolution of that stride does the rest.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride=kernel, groups=groups, bias=False
        )
        self.conv_offset = nn.Conv2d(channels_in, 2 * kernel**2, kernel, padding=kernel // 2)
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, Cout, H, W]"""
        out: Tensor = self.conv(F.grid_sample(x, self.tap_positions(x), align_corners=False))
        return out

    def tap_positions(self, x: Tensor) -> Tensor:
        """Where each tap of each pixel reads, -1..1 over the map: [B, kernel H, kernel W, 2]"""
        height, width = x.shape[2:]
        side = self.kernel
        taps = torch.arange(side, device=x.device, dtype=x.dtype) - side // 2
        row = torch.arange(height, device=x.device, dtype=x.dtype).view(-1, 1, 1, 1)
        column = torch.arange(width, device=x.device, dtype=x.dtype).view(1, 1, -1, 1)
        moved = self.conv_offset(x).unflatten(1, (side, side, 2)).permute(0, 4, 1, 5, 2, 3)
        y = row + taps.view(1, -1, 1, 1) + moved[..., 0]  # [B, H, side, W, side]
        right = column + taps + moved[..., 1]
        at = torch.stack([(2 * right + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        return at.flatten(1, 2).flatten(2, 3)
