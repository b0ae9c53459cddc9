"""A convolution with its batch norm and ReLU, under the names conv and bn of mmcv's ConvModule."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """ReLU(bn(conv(x)))"""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x)).relu()
        return out


def conv2d_norm(channels_in: int, channels_out: int, kernel: int) -> ConvNorm:
    """A 2-D one of stride 1, the same size, without bias."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return ConvNorm(conv, nn.BatchNorm2d(channels_out))


def conv1d_norm(channels_in: int, channels_out: int) -> ConvNorm:
    """A 1-D one, one position wide, without bias."""
    conv = nn.Conv1d(channels_in, channels_out, 1, bias=False)
    return ConvNorm(conv, nn.BatchNorm1d(channels_out))
