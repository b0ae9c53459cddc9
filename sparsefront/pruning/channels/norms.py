"""A LayerNorm of fewer channels that normalises as the wide one with zeros in their place."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WideLayerNorm(nn.Module):
    """LayerNorm over `width` channels of which only len(weight) are left, the others being zero:
    mean = sum(x) / width, variance = sum(x^2) / width - mean^2.
    """

    def __init__(self, weight: Tensor, bias: Tensor, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.width, self.eps = width, eps

    @property
    def normalized_shape(self) -> tuple[int]:
        return (len(self.weight),)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.sum(-1, keepdim=True) / self.width
        gone = self.width - len(self.weight)
        squares = (x - mean).square().sum(-1, keepdim=True) + gone * mean.square()
        return (x - mean) * torch.rsqrt(squares / self.width + self.eps) * self.weight + self.bias

    def extra_repr(self) -> str:
        return f"{len(self.weight)} of {self.width}, eps={self.eps}"
