"""Where a function cuts the channels at fixed numbers: what lies before the cut must stay, or the
same numbers would mean other channels in the smaller model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsefront.pruning.channels.labels import Ties

PICKS = {"select", "unbind", "index_select", "gather", "take_along_dim", "unfold"}
"""Functions (tensor, dim, ...) that pick single positions along an axis."""


def varies(labels: Tensor, axis: int) -> bool:
    """Whether the axis holds different channels."""
    if labels.shape[axis] < 2 or labels.numel() == 0:
        return False
    return bool((labels != labels.narrow(axis, 0, 1)).any())


def pin_cuts(ties: Ties, name: str, labels: Tensor, args: Any, kwargs: Any) -> None:
    """Pins what a moving function's fixed numbers stand for, from its name and arguments."""
    if name == "__getitem__":
        _pin_index(ties, labels, args[1])
    elif name == "masked_select":
        ties.pin(labels)
    elif name == "roll":
        axes = kwargs.get("dims", args[2] if len(args) > 2 else None)
        for axis in range(labels.ndim) if axes is None else _tuple(axes):
            _pin_before(ties, labels, axis, labels.shape[axis])
    elif name in PICKS:
        axis = _given(args, kwargs, 1, "dim", 0)
        _pin_before(ties, labels, axis, labels.shape[axis])
    elif name == "narrow":
        axis, start = _given(args, kwargs, 1, "dim", 0), _given(args, kwargs, 2, "start", 0)
        end = start + _given(args, kwargs, 3, "length", 0)
        _pin_before(ties, labels, axis, start if end == labels.shape[axis] else end)
    elif name == "chunk":
        axis = _given(args, kwargs, 2, "dim", 0)
        _pin_before(ties, labels, axis, labels.shape[axis])
    elif name == "split":
        axis = _given(args, kwargs, 2, "dim", 0)
        _pin_before(ties, labels, axis, _last_part(labels.shape[axis], args, kwargs))


def pin_splits(ties: Ties, before: Tensor, after: Tensor) -> None:
    """Pins channels whose axis was split in two by a reshape."""
    count = sum(varies(before, axis) for axis in range(before.ndim))
    if sum(varies(after, axis) for axis in range(after.ndim)) > count:
        ties.pin(before)


def _pin_index(ties: Ties, labels: Tensor, index: Any) -> None:
    index = index if isinstance(index, tuple) else (index,)
    used = sum(_axes_of(part) for part in index if part is not Ellipsis)
    axis = 0
    for part in index:
        if part is Ellipsis:
            axis += labels.ndim - used
            continue
        size = labels.shape[axis] if _axes_of(part) else 0
        if isinstance(part, slice):
            _pin_before(ties, labels, axis, _before(part, size))
        else:
            for one in range(axis, axis + _axes_of(part)):
                _pin_before(ties, labels, one, labels.shape[one])
        axis += _axes_of(part)


def _axes_of(part: Any) -> int:
    if part is None:
        return 0
    return part.ndim if torch.is_tensor(part) and part.dtype == torch.bool else 1


def _before(part: slice, size: int) -> int:
    """How many positions from the first on must stay for a slice to mean the same."""
    start, stop, step = part.indices(size)
    if (start, stop, step) == (0, size, 1):
        return 0
    if step != 1 or any(end is not None and end < 0 for end in (part.start, part.stop)):
        return size
    return stop if stop < size else start


def _last_part(size: int, args: Any, kwargs: Any) -> int:
    """How many positions must stay for a split to mean the same: all before the last part of equal
    ones, all where the sizes are given one by one.
    """
    sizes = _given(args, kwargs, 1, "split_size", kwargs.get("split_size_or_sections"))
    return (size - 1) // sizes * sizes if isinstance(sizes, int) else size


def _pin_before(ties: Ties, labels: Tensor, axis: int, count: int) -> None:
    if count > 0 and varies(labels, axis):
        ties.pin(labels.narrow(axis, 0, count))


def _given(args: Any, kwargs: Any, position: int, name: str, otherwise: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, otherwise)


def _tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
