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


class SecondBackbone(nn.Module):
    """SECOND's BEV backbone (Yan et al., Sensors 2018): one block a stride, maps of all of them."""

    def __init__(
        self,
        channels_in: int,
        channels: tuple[int, ...] = (128, 256),
        depths: tuple[int, ...] = (5, 5),
        strides: tuple[int, ...] = (1, 2),
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for width, depth, stride in zip(channels, depths, strides, strict=True):
            layers = _conv3(channels_in, width, stride)
            for _ in range(depth):
                layers += _conv3(width, width, 1)
            self.blocks.append(nn.Sequential(*layers))
            channels_in = width

    def forward(self, bev: Tensor) -> list[Tensor]:
        maps = []
        for block in self.blocks:
            bev = block(bev)
            maps.append(bev)
        return maps


class SecondFpn(nn.Module):
    """Each map brought to one size by (transposed) convolution; concatenated."""

    def __init__(
        self,
        channels_in: tuple[int, ...] = (128, 256),
        channels: tuple[int, ...] = (256, 256),
        strides: tuple[int, ...] = (1, 2),
    ) -> None:
        super().__init__()
        self.deblocks = nn.ModuleList()
        for entering, width, stride in zip(channels_in, channels, strides, strict=True):
            layer: nn.Module = (
                nn.ConvTranspose2d(entering, width, stride, stride, bias=False)
                if stride > 1
                else nn.Conv2d(entering, width, 1, bias=False)
            )
            self.deblocks.append(nn.Sequential(layer, _norm(width), nn.ReLU()))

    def forward(self, maps: list[Tensor]) -> Tensor:
        ups = [deblock(x) for deblock, x in zip(self.deblocks, maps, strict=True)]
        return torch.cat(ups, dim=1)


class SecondDecoder(nn.Module):
    """SECOND and its FPN, under the published names backbone and neck."""

    def __init__(self, backbone: SecondBackbone, neck: SecondFpn) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, bev: Tensor) -> Tensor:
        out: Tensor = self.neck(self.backbone(bev))
        return out


def _conv3(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
    return [conv, _norm(channels_out), nn.ReLU()]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
