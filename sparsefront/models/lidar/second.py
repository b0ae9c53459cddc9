"""The sparse encoder of the published BEVFusion (SECOND's, with residual blocks), x first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sparsefront.models.lidar.sparse_conv import SparseConv3d, SubMConv3d, spconv
from sparsefront.models.lidar.sparse_encoder import to_dense
from sparsefront.models.lidar.voxelize import voxelize
from sparsefront.models.precision import full_precision

EPS, MOMENTUM = 1e-3, 0.01
"""Of the batch norms, as published."""
Triple = tuple[int, int, int]


class SparseBlock(spconv.SparseModule):
    """Two submanifold convolutions and a shortcut."""

    def __init__(self, channels: int, key: str) -> None:
        super().__init__()
        self.conv1 = _submanifold(channels, channels, key)
        self.bn1 = _norm(channels)
        self.conv2 = _submanifold(channels, channels, key)
        self.bn2 = _norm(channels)

    def forward(self, x: spconv.SparseConvTensor) -> spconv.SparseConvTensor:
        out = self.conv1(x)
        out = out.replace_feature(self.bn1(out.features).relu())
        out = self.conv2(out)
        return out.replace_feature((self.bn2(out.features) + x.features).relu())


class SecondEncoder(nn.Module):
    """Points to a BEV map [B, C * Z, X, Y]; sparse channel c at height z is channel c Z + z.

    lower_m, upper_m  the range; points outside are left out
    voxel_m           size of a voxel; each is the mean of its first `max_points` points
    max_voxels        in training and in evaluation: the first so many, in the order of the points
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128),
        lower_m: tuple[float, float, float] = (-54.0, -54.0, -5.0),
        upper_m: tuple[float, float, float] = (54.0, 54.0, 3.0),
        voxel_m: tuple[float, float, float] = (0.075, 0.075, 0.2),
        max_points: int = 10,
        max_voxels: tuple[int, int] = (120_000, 160_000),
    ) -> None:
        super().__init__()
        self.lower_m, self.voxel_m = lower_m, voxel_m
        self.max_points, self.max_voxels = max_points, max_voxels
        axes = zip(lower_m, upper_m, voxel_m, strict=True)
        cells = [round((high - low) / size) for low, high, size in axes]
        self.cells: Triple = (cells[0], cells[1], cells[2])
        self.shape = (cells[0], cells[1], cells[2] + 1)
        first = channels[0]
        self.conv_input = spconv.SparseSequential(
            _submanifold(5, first, "subm1"), _norm(first), nn.ReLU()
        )
        self.encoder_layers = nn.Module()
        for i, width in enumerate(channels):
            blocks: list[nn.Module] = [SparseBlock(width, f"subm{i + 1}") for _ in range(2)]
            if i + 1 < len(channels):
                padding = (1, 1, 0) if i == 2 else (1, 1, 1)
                wider = channels[i + 1]
                blocks.append(_strided(width, wider, (3, 3, 3), (2, 2, 2), padding, f"down{i + 1}"))
            self.encoder_layers.add_module(
                f"encoder_layer{i + 1}", spconv.SparseSequential(*blocks)
            )
        last = channels[-1]
        self.conv_out = _strided(last, last, (1, 1, 3), (1, 1, 2), (0, 0, 0), "out")

    @full_precision
    def forward(self, points: tuple[Tensor, ...]) -> Tensor:
        """B tensors [P, 5] -> [B, C * Z, X, Y]"""
        features, coordinates = voxelize(
            points, self.lower_m, self.voxel_m, self.cells,
            max_points=self.max_points, max_voxels=self.max_voxels[0 if self.training else 1],
        )  # fmt: skip
        return self.encode(features, coordinates, len(points))

    def encode(self, features: Tensor, coordinates: Tensor, frames: int) -> Tensor:
        """Voxels [V, 5] at [V, 4] = (frame, x, y, z) -> [B, C * Z, X, Y]"""
        features = features.to(next(self.parameters()).dtype)
        x = spconv.SparseConvTensor(features, coordinates, list(self.shape), frames)
        x = self.conv_input(x)
        for layer in self.encoder_layers.children():
            x = layer(x)
        dense = to_dense(self.conv_out(x))  # [B, C, X, Y, Z]
        return dense.permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous()

    @property
    def channels_out(self) -> int:
        heights = self.shape[2]
        for padding in (1, 1, 0):
            heights = (heights + 2 * padding - 3) // 2 + 1
        last: Any = self.conv_out
        return int(last[0].out_channels) * ((heights - 3) // 2 + 1)


def _submanifold(channels_in: int, channels_out: int, key: str) -> nn.Module:
    return SubMConv3d(channels_in, channels_out, 3, padding=1, bias=False, indice_key=key)


def _strided(
    channels_in: int, channels_out: int, kernel: Triple, stride: Triple, padding: Triple, key: str
) -> nn.Module:
    conv = SparseConv3d(
        channels_in, channels_out, kernel, stride, padding, bias=False, indice_key=key
    )
    sequence: nn.Module = spconv.SparseSequential(conv, _norm(channels_out), nn.ReLU())
    return sequence


def _norm(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=EPS, momentum=MOMENTUM)
