"""ResNet-50 and ResNet-101 (He et al., CVPR 2016), strides in the 3 x 3 convolutions, with the
parameter names of torchvision and mmdetection.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.recompute import RecomputedBlock

EXPANSION = 4
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Bottleneck(RecomputedBlock):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut, projected where it has to be."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * EXPANSION
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        result: Tensor = (self.bn3(self.conv3(out)) + self.downsample(x)).relu()
        return result


class BottleneckResNet(nn.Module):
    """Images [B, 3, H, W] to the maps of the stages in `levels`: 4 width 2^i channels at stride
    2^(i + 2).
    """

    def __init__(
        self, blocks: tuple[int, ...] = BLOCKS[50], width: int = 64,
        levels: tuple[int, ...] = (0, 1, 2, 3),
    ) -> None:  # fmt: skip
        super().__init__()
        self.levels = levels
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        entering = width
        for i, count in enumerate(blocks):
            layers = []
            for block in range(count):
                stride = 2 if i > 0 and block == 0 else 1
                layers.append(Bottleneck(entering, width * 2**i, stride))
                entering = width * 2**i * EXPANSION
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        self.stages = len(blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        maps = []
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
            if i in self.levels:
                maps.append(x)
        return maps
