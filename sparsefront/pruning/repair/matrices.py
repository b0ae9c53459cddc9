"""A layer's weight as matrices: one row an output, one column an input and kernel tap."""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def as_rows(module: nn.Module, weight: Tensor) -> Tensor:
    """[groups, outputs, columns] of a weight, or of a mask shaped like it.

    Columns are (input, taps) for convolutions, (taps, input) for spconv's, inputs for others. The
    groups of a fused attention projection are query, key and value.
    """
    groups = groups_of(module, weight)
    if isinstance(module, _ConvTransposeNd):  # [in, out / groups, taps]
        inputs, outputs = weight.shape[:2]
        split = weight.reshape(groups, inputs // groups, outputs, -1)
        return split.transpose(1, 2).reshape(groups, outputs, -1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def from_rows(module: nn.Module, rows: Tensor, weight: Tensor) -> Tensor:
    """The inverse of as_rows: a tensor shaped like the weight."""
    if isinstance(module, _ConvTransposeNd):
        groups, outputs, _ = rows.shape
        taps = prod(weight.shape[2:])
        split = rows.reshape(groups, outputs, weight.shape[0] // groups, taps)
        return split.transpose(1, 2).reshape(weight.shape)
    return rows.reshape(weight.shape)


def groups_of(module: Any, weight: Tensor) -> int:
    """Sets of outputs that read different inputs."""
    if isinstance(module, _ConvNd):
        return module.groups
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        return 3 if weight.shape == module.in_proj_weight.shape else 1
    return 1
