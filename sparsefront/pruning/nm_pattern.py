"""N:M sparsity: of every M weights along the inputs, N stay (Mishra et al. 2021)."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from sparsefront.errors import InputError
from sparsefront.pruning.weights import is_sparse_convolution


def parse_pattern(pattern: str) -> tuple[int, int]:
    """ "2:4" -> (2, 4). InputError for anything else than 0 < N < M."""
    found = re.fullmatch(r"(\d+):(\d+)", pattern)
    if found and 0 < int(found[1]) < int(found[2]):
        return int(found[1]), int(found[2])
    raise InputError(
        f"pattern: value {pattern!r}; allowed: unstructured, channel, or N:M as in 2:4"
    )


def input_axis(model: nn.Module, name: str) -> int:
    """The axis of a weight along which its input channels lie: last for spconv layers, first for
    transposed convolutions, else second.
    """
    owner = model.get_submodule(name.rpartition(".")[0])
    if is_sparse_convolution(owner):
        return int(owner.weight.ndim) - 1  # type: ignore[arg-type]
    return 0 if isinstance(owner, _ConvTransposeNd) else 1


def nm_mask(scores: Tensor, kept: int, block: int, axis: int, name: str) -> Tensor:
    """The `kept` highest scores of each `block` along the axis; of equal ones the first.

    InputError where the axis does not divide into blocks.
    """
    size = scores.shape[axis]
    if size % block:
        raise InputError(
            f"{name}: {size} inputs do not divide into blocks of {block}; allowed: leave the layer "
            "dense (its own sparsity 0) or another pattern"
        )
    runs = scores.movedim(axis, -1).unflatten(-1, (size // block, block))
    order = runs.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(runs, dtype=torch.bool).scatter_(-1, order[..., :kept], True)
    return mask.flatten(-2).movedim(-1, axis).contiguous()
