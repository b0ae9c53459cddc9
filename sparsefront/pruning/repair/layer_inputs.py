"""What each output position of a layer reads, as rows: convolutions, linear layers, attention,
spconv layers by their rulebook (never densified).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sparsefront.pruning.pairs import pairs_of_offset
from sparsefront.pruning.weights import is_sparse_convolution

Choose = Callable[[int, int], Tensor]
"""choose(positions, columns) -> rows of the positions to look at, int64."""


@dataclass(frozen=True)
class LayerInputs:
    """field: of the module, whose weight multiplies `rows` [groups or 1, positions, columns]."""

    field: str
    rows: Tensor


def inputs_of(
    module: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any], output: Any, choose: Choose
) -> Iterator[LayerInputs]:
    """The inputs of one call of a layer, at chosen positions; nothing for a kind it does not know.

    columns as in matrices.as_rows.
    """
    if isinstance(module, nn.MultiheadAttention):
        yield from _attention(module, inputs, kwargs, choose)
        return
    x = inputs[0] if inputs else next(iter(kwargs.values()))
    if isinstance(module, nn.Linear):
        yield LayerInputs("weight", _tokens(x, choose))
    elif isinstance(module, _ConvTransposeNd):
        yield LayerInputs("weight", _transposed(module, x, output, choose))
    elif isinstance(module, _ConvNd):
        yield LayerInputs("weight", _convolution(module, x, output, choose))
    elif is_sparse_convolution(module) and is_known(module):
        yield LayerInputs("weight", _sparse(module, x, output, choose))


def is_known(module: Any) -> bool:
    """Whether a layer that multiplies is of a kind whose inputs are found here."""
    if is_sparse_convolution(module):
        return not module.inverse and not module.transposed
    return isinstance(module, (_ConvNd, nn.Linear, nn.MultiheadAttention))


def _tokens(x: Tensor, choose: Choose) -> Tensor:
    rows = x.detach().reshape(-1, x.shape[-1])
    return rows[choose(len(rows), rows.shape[1]).to(rows.device)][None]


def _convolution(module: _ConvNd, x: Tensor, output: Tensor, choose: Choose) -> Tensor:
    x, output = _batched(module, x), _batched(module, output)
    padding: Any = module._reversed_padding_repeated_twice
    if any(padding):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = functional.pad(x, padding, mode=mode)
    columns = module.in_channels // module.groups * prod(module.kernel_size)
    frame, places = _chosen(output, choose, columns, x.device)
    taps = []
    for offset in product(*map(range, module.kernel_size)):
        at = [
            place * stride + step * dilation
            for place, step, stride, dilation in zip(
                places, offset, module.stride, module.dilation, strict=True
            )
        ]
        taps.append(_flat(frame, at, tuple(x.shape[2:])))
    values = _by_position(x)[torch.stack(taps, 1)]  # [P, taps, C]
    return _grouped(values, module.groups)


def _transposed(module: _ConvTransposeNd, x: Tensor, output: Tensor, choose: Choose) -> Tensor:
    """y[q] = sum of w[k] x[(q + padding - k dilation) / stride] over taps k where that is whole."""
    x, output = _batched(module, x), _batched(module, output)
    sizes = tuple(x.shape[2:])
    columns = module.in_channels // module.groups * prod(module.kernel_size)
    frame, places = _chosen(output, choose, columns, x.device)
    rows = _by_position(x)
    taps = []
    for offset in product(*map(range, module.kernel_size)):
        meets = torch.ones_like(frame, dtype=torch.bool)
        at = []
        for axis, (place, step) in enumerate(zip(places, offset, strict=True)):
            moved = place + int(module.padding[axis]) - step * module.dilation[axis]
            source = moved.div(module.stride[axis], rounding_mode="floor")
            meets &= (moved % module.stride[axis] == 0) & (source >= 0) & (source < sizes[axis])
            at.append(source.clamp(0, sizes[axis] - 1))
        taps.append(rows[_flat(frame, at, sizes)] * meets[:, None])
    return _grouped(torch.stack(taps, 1), module.groups)


def _sparse(module: Any, x: Any, output: Any, choose: Choose) -> Tensor:
    """Features of the input sites by tap, [1, P, taps * in]; zero where a tap meets none."""
    taps = list(product(*map(range, module.kernel_size)))
    width = x.features.shape[1]
    device = x.features.device
    sites = output.indices[choose(len(output.indices), len(taps) * width).to(device)]
    found = x.features.new_zeros(len(sites), len(taps), width)
    if len(sites) == 0 or len(x.indices) == 0:
        return found.flatten(1)[None]
    shapes = tuple(x.spatial_shape), tuple(output.spatial_shape)
    for at, offset in enumerate(taps):
        sources, targets = pairs_of_offset(module, x.indices, shapes[0], sites, shapes[1], offset)
        found[targets, at] = x.features.detach()[sources]
    return found.flatten(1)[None]


def _attention(
    module: nn.MultiheadAttention, inputs: tuple[Any, ...], kwargs: dict[str, Any], choose: Choose
) -> Iterator[LayerInputs]:
    given = dict(zip(("query", "key", "value"), inputs, strict=False)) | kwargs
    query, key, value = (given[part] for part in ("query", "key", "value"))
    if module.in_proj_weight is None:
        for part, x in zip("qkv", (query, key, value), strict=True):
            yield LayerInputs(f"{part}_proj_weight", _tokens(x, choose))
    elif query is key is value:
        yield LayerInputs("in_proj_weight", _tokens(query, choose))
    else:
        parts = [_tokens(x, choose) for x in (query, key, value)]
        most = max(part.shape[1] for part in parts)
        # rows of zeros add nothing to a sum of squares
        padded = [functional.pad(part, (0, 0, 0, most - part.shape[1])) for part in parts]
        yield LayerInputs("in_proj_weight", torch.cat(padded))
    yield LayerInputs("out_proj.weight", _tokens(_context(module, inputs, kwargs), choose))


def _context(
    module: nn.MultiheadAttention, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """What the output projection reads: the layer's own answer with that projection left out."""
    out = module.out_proj
    swapped = {"out_proj.weight": torch.eye(len(out.weight)).to(out.weight)}
    if out.bias is not None:
        swapped["out_proj.bias"] = torch.zeros_like(out.bias)
    forward = _Forward(module)
    found: Tensor = functional_call(
        forward, {f"of.{k}": v for k, v in swapped.items()}, inputs, kwargs
    )[0]
    return found


class _Forward(nn.Module):
    """The layer without its hooks."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.of.forward(*inputs, **kwargs)


def _batched(module: _ConvNd, x: Tensor) -> Tensor:
    return x.detach() if x.ndim == module.weight.ndim else x.detach()[None]


def _chosen(
    output: Tensor, choose: Choose, columns: int, device: torch.device
) -> tuple[Tensor, list[Tensor]]:
    """Frame and place on the output's grid of each chosen position."""
    sizes = tuple(output.shape[2:])
    left = choose(output.shape[0] * prod(sizes), columns).to(device)
    places = []
    for size in reversed(sizes):
        places.append(left % size)
        left = left // size
    return left, places[::-1]


def _flat(frame: Tensor, at: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    row = frame
    for place, size in zip(at, sizes, strict=True):
        row = row * size + place
    return row


def _by_position(x: Tensor) -> Tensor:
    """[B, C, ...] -> [B * positions, C]"""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _grouped(values: Tensor, groups: int) -> Tensor:
    """[P, taps, C] -> [groups, P, C / groups * taps]"""
    positions, taps, channels = values.shape
    split = values.transpose(1, 2).reshape(positions, groups, channels // groups * taps)
    return split.transpose(0, 1)
