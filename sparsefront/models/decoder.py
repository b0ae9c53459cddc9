"""Networks over the bird's-eye view between fuser and head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.camera.lift_splat import conv_layers
from sparsefront.models.camera.resnet import BasicBlock, conv_bn_relu


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
    """Brings maps to one size by (transposed) convolution and concatenates them.

    strides: above 1 up, below 1 down; at 1 a transposed convolution as well where `transposes_one`.
    """

    def __init__(
        self,
        channels_in: tuple[int, ...] = (128, 256),
        channels: tuple[int, ...] = (256, 256),
        strides: tuple[float, ...] = (1, 2),
        transposes_one: bool = False,
    ) -> None:
        super().__init__()
        self.deblocks = nn.ModuleList()
        for entering, width, stride in zip(channels_in, channels, strides, strict=True):
            up, down = round(stride), round(1 / stride)
            layer: nn.Module = (
                nn.ConvTranspose2d(entering, width, up, up, bias=False)
                if stride > 1 or (stride == 1 and transposes_one)
                else nn.Conv2d(entering, width, down, down, bias=False)
            )
            self.deblocks.append(nn.Sequential(layer, _norm(width), nn.ReLU()))

    def forward(self, maps: list[Tensor]) -> Tensor:
        ups = [deblock(x) for deblock, x in zip(self.deblocks, maps, strict=True)]
        return torch.cat(ups, dim=1)


class ResidualBackbone(nn.ModuleList):
    """Stages of basic residual blocks (BEVFusion's GeneralizedResNet), maps of all of them."""

    def __init__(
        self, channels_in: int, channels: tuple[int, ...], blocks: int, strides: tuple[int, ...]
    ) -> None:
        super().__init__()
        for width, stride in zip(channels, strides, strict=True):
            layers = [BasicBlock(channels_in, width, stride)]
            layers += [BasicBlock(width, width, 1) for _ in range(blocks - 1)]
            self.append(nn.Sequential(*layers))
            channels_in = width

    def forward(self, bev: Tensor) -> list[Tensor]:
        maps = []
        for stage in self:
            bev = stage(bev)
            maps.append(bev)
        return maps


class LssNeck(nn.Module):
    """Brings the last map to the size of the first, fuses both, and doubles the size (as in Lift,
    Splat, Shoot; interpolation aligns corners).
    """

    def __init__(self, channels_in: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.fuse = nn.Sequential(
            *conv_layers(sum(channels_in), channels, 1, 1, bias=False),
            *conv_layers(channels, channels, 3, 1, bias=False),
        )
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.upsample = nn.Sequential(up, *conv_layers(channels, channels, 3, 1, bias=False))

    def forward(self, maps: list[Tensor]) -> Tensor:
        coarse, fine = maps[-1], maps[0]
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)
        out: Tensor = self.upsample(self.fuse(torch.cat([coarse, fine], dim=1)))
        return out


class Decoder(nn.Module):
    """A backbone and a neck over the fused map, under the published names."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
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
