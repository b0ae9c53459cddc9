"""A camera branch, a radar branch, and what joins them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoBranch(nn.Module):
    """Image [B, 3, 32, 32] and radar returns [B, 64, 4] -> scores of the kinds [B, 4] and distance
    in metres [B].
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.camera = CameraBranch(width)
        self.radar = RadarBranch(2 * width)
        self.joint = Joint(6 * width, 4 * width)

    def forward(self, image: Tensor, returns: Tensor) -> tuple[Tensor, Tensor]:
        return self.joint(self.camera(image), self.radar(returns))


class CameraBranch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = block(3, width, 1)
        self.stage1 = block(width, 2 * width, 2)
        self.stage2 = block(2 * width, 4 * width, 2)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 4 width]"""
        found: Tensor = self.stage2(self.stage1(self.stem(image))).mean((2, 3))
        return found


class RadarBranch(nn.Module):
    """Each return by itself, then the largest of each feature (PointNet)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, width), nn.Linear(width, width)

    def forward(self, returns: Tensor) -> Tensor:
        """[B, width]"""
        return self.second(self.first(returns).relu()).relu().amax(1)


class Joint(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, hidden)
        self.kind, self.distance = nn.Linear(hidden, 4), nn.Linear(hidden, 1)

    def forward(self, camera: Tensor, radar: Tensor) -> tuple[Tensor, Tensor]:
        x = self.hidden(torch.cat([camera, radar], 1)).relu()
        return self.kind(x), self.distance(x)[:, 0]


def block(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, 1, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
