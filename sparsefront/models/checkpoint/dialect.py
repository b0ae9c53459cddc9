"""Describes, as data, how another code base names and lays out the tensors of a model of ours.

Ours: spconv 2 layout [out, kx, ky, kz, in], x first; maps [.., X, Y]; mmdetection's Swin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

GEOMETRY = ("dx", "bx", "nx", "frustum")
FIXED = (*GEOMETRY, "relative_position_index")
COUNTER = "num_batches_tracked"
MERGING = re.compile(r"downsample\.(norm\.(weight|bias)|reduction\.weight)$")


@dataclass(frozen=True)
class Entry:
    """One entry of a published state dict: its tensor in the published layout, param or buffer."""

    tensor: Tensor
    kind: str


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one code base stores its state dicts.

    names      (pattern, replacement) in turn: our name -> theirs
    sparse     layout of sparse weights: spconv 1 and mmcv [k, k, k, in, out], spconv 2 [out, k, k,
               k, in]
    z_first    their sparse kernels are (z, y, x) and their maps [.., Y, X]
    maps       pattern of our modules whose 2-D kernels act on bird's-eye-view maps
    swin       how patch merging orders its 4 C inputs: mmdetection's by channel, the official
               Swin's by neighbour
    buffers    entries that theirs has and ours has not
    wrapper    key of their files under which the state dict stands
    """

    names: tuple[tuple[str, str], ...]
    sparse: Literal["spconv1", "spconv2"] = "spconv1"
    z_first: bool = False
    maps: str = r"$^"
    swin: Literal["mmdetection", "official"] = "mmdetection"
    buffers: tuple[str, ...] = ()
    wrapper: Literal["state_dict", "model_state"] = "state_dict"

    def their_name(self, ours: str) -> str:
        """Our name of a module, parameter or buffer -> theirs."""
        found = f"{ours}."
        for pattern, replacement in self.names:
            found = re.sub(pattern, replacement, found)
        return found.removesuffix(".")

    def to_theirs(self, name: str, tensor: Tensor) -> Tensor:
        """Our tensor of our `name` in their layout."""
        if tensor.ndim == 5:
            turned = tensor.transpose(1, 3) if self.z_first else tensor
            return turned.permute(1, 2, 3, 4, 0) if self.sparse == "spconv1" else turned
        if self.swin == "official" and MERGING.search(name):
            return _reorder_merging(tensor, by_neighbour=True)
        return self._swap_axes(name, tensor)

    def to_ours(self, name: str, tensor: Tensor, shape: torch.Size) -> Tensor | None:
        """Their tensor of our `name` in our layout, from either sparse layout; None where it does
        not fit our shape.
        """
        if tensor.ndim == 5 and len(shape) == 5:
            for turned in (tensor.permute(4, 0, 1, 2, 3), tensor):
                found = turned.transpose(1, 3) if self.z_first else turned
                if found.shape == shape:
                    return found.contiguous()
            return None
        if self.swin == "official" and MERGING.search(name) and tensor.shape == shape:
            return _reorder_merging(tensor, by_neighbour=False)
        found = self._swap_axes(name, tensor)
        return found.contiguous() if found.shape == shape else None

    def _swap_axes(self, name: str, tensor: Tensor) -> Tensor:
        """Swaps X and Y of 2-D kernels over maps, and of the offsets of deformable kernels."""
        if not (self.z_first and re.search(self.maps, name)):
            return tensor
        if "conv_offset" in name:  # [2 taps, ...]: (row, column) of each tap, taps by rows
            side = round((len(tensor) // 2) ** 0.5)
            taps = tensor.unflatten(0, (side, side, 2)).transpose(0, 1).flip(2).flatten(0, 2)
            return taps.transpose(-1, -2) if tensor.ndim == 4 else taps
        return tensor.transpose(2, 3) if tensor.ndim == 4 else tensor


def published_entries(model: nn.Module, dialect: Dialect) -> dict[str, Entry]:
    """The state dict as published, constants included; those of the view transform are parameters
    there.
    """
    parameters = {name for name, _ in model.named_parameters()}
    saved = model.state_dict().keys()
    found = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        last = name.rpartition(".")[2]
        if name not in saved and last not in GEOMETRY:
            continue
        kind = "param" if name in parameters or last in GEOMETRY else "buffer"
        found[dialect.their_name(name)] = Entry(dialect.to_theirs(name, tensor.detach()), kind)
    for name in dialect.buffers:
        found[name] = Entry(torch.zeros(1, dtype=torch.int64), "buffer")
    return found


def _reorder_merging(tensor: Tensor, by_neighbour: bool) -> Tensor:
    """Reorders the last axis [4 C] of patch merging: channel c of the neighbour at row i, column j
    is number 4 c + 2 i + j by channel, (2 j + i) C + c by neighbour.
    """
    if by_neighbour:
        parts = tensor.unflatten(-1, (-1, 2, 2))  # c, i, j
        return parts.movedim(-3, -1).transpose(-3, -2).flatten(-3)
    parts = tensor.unflatten(-1, (2, 2, -1))  # j, i, c
    return parts.transpose(-3, -2).movedim(-1, -3).flatten(-3)
