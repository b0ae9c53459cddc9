"""A residual image backbone (He et al., CVPR 2016) with basic blocks.

Shape legend: B images (frames x cameras), C channels, H x W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from sparsefront.models.recompute import RecomputedBlock


def conv_bn_relu(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; keeps the size at stride 1."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class BasicBlock(RecomputedBlock):
    """Two 3x3 convolutions and a shortcut, projected where size or channels change."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """Stem at stride 2, then one stage a channel count, each at twice the stride before it."""

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, channels[0], 3, 2)
        stages = []
        channels_in = channels[0]
        for channels_out, count in zip(channels, blocks, strict=True):
            layers = [BasicBlock(channels_in, channels_out, 2)]
            layers += [BasicBlock(channels_out, channels_out, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*layers))
            channels_in = channels_out
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images [B, 3, H, W] -> one map a stage, strides 4, 8, 16, ..."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
