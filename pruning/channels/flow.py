"""How channel labels pass through functions: what moves elements, ties them, or ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pruning.channels.labels import NONE, PINNED, Ties, spread

MOVES = {
    "reshape", "view", "view_as", "permute", "transpose", "swapaxes", "movedim", "flatten",
    "unflatten", "contiguous", "cat", "concat", "concatenate", "stack", "split", "chunk", "unbind",
    "__getitem__", "select", "narrow", "roll", "expand", "expand_as", "unsqueeze", "squeeze",
    "repeat", "repeat_interleave", "flip", "clone", "detach", "index_select", "masked_select", "t",
    "gather", "take_along_dim", "moveaxis", "tile", "unfold", "index_put",
}  # fmt: skip
"""Functions that only move elements: done to the labels as they are."""

KEEPS = {
    "relu", "relu_", "gelu", "silu", "silu_", "leaky_relu", "leaky_relu_", "tanh", "hardswish",
    "dropout", "neg", "__neg__", "abs", "square", "sqrt", "float", "double", "half", "bfloat16",
    "to", "type", "type_as", "requires_grad_", "nan_to_num", "dropout_", "relu6", "hardtanh",
}  # fmt: skip
"""Elementwise functions of one activation that leave zero at zero."""

POOLS = {
    "interpolate", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "max_pool3d", "avg_pool3d",
    "adaptive_max_pool2d", "grid_sample", "upsample", "boolean_dispatch", "max_pool2d_with_indices",
}  # fmt: skip
"""Functions within each channel of axis 1."""

SUMS = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__isub__"}
PRODUCTS = {"mul", "mul_", "__mul__", "__rmul__", "__imul__"}
QUOTIENTS = {"div", "div_", "__truediv__", "__itruediv__", "true_divide"}
REDUCTIONS = {"mean", "sum", "amax", "amin"}
ZEROS = {"zeros", "zeros_like", "new_zeros"}


class Flow:
    """The labels of activations, kept on the tensors themselves."""

    def __init__(self, ties: Ties) -> None:
        self.ties = ties

    def labels(self, tensor: Tensor) -> Tensor:
        """Labels of an activation; data that no layer made is PINNED."""
        known = getattr(tensor, "_channel_labels", None)
        if known is None or known.shape != tensor.shape:
            return torch.full((), PINNED).expand(tensor.shape)
        return known

    def set(self, tensor: Tensor, labels: Tensor) -> None:
        tensor._channel_labels = labels  # type: ignore[attr-defined]

    def through(self, function: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> None:
        """Labels of what a function gave, from the labels of what it was given."""
        name = getattr(function, "__name__", "")
        if name == "__get__":  # attributes of a tensor: .T, .mT, .shape, ...
            name = getattr(getattr(function, "__self__", None), "__name__", "")
        if name == "__setitem__":
            self._write(args)
            return
        outputs = [t for t in _tensors(result) if t.is_floating_point()]
        if not outputs:
            return
        if name in ZEROS:
            self.set(outputs[0], torch.zeros((), dtype=torch.int64).expand(outputs[0].shape))
        elif name in MOVES or name in ("T", "mT"):
            moved = _tensors(function(*self._map(args), **self._map(kwargs)))
            for output, labels in zip(_tensors(result), moved, strict=True):
                self.set(output, labels)
        elif name in KEEPS and args[0].shape == outputs[0].shape:
            self.set(outputs[0], self.labels(args[0]))
        elif name in POOLS:
            line = self.ties.along(self.labels(args[0]), 1)
            self.set(outputs[0], spread(line, tuple(outputs[0].shape), 1))
        elif name in SUMS:
            self.set(outputs[0], self._sum(args[0], args[1], outputs[0]))
        elif name in PRODUCTS:
            self.set(outputs[0], self._product(args[0], args[1], outputs[0]))
        elif name in QUOTIENTS:
            self.pin(args[1])
            self.set(outputs[0], self._product(args[0], args[1], outputs[0]))
        elif name in REDUCTIONS:
            self.set(outputs[0], self._reduction(function, args, kwargs, outputs[0]))
        elif name in ("index_add", "index_add_"):
            line = self.ties.along(self.labels(args[3]), 1 if args[1] == 0 else 0)
            self.set(outputs[0], spread(line, tuple(outputs[0].shape), 1 if args[1] == 0 else 0))
        elif name == "pad":
            self.set(outputs[0], function(self.labels(args[0]), *args[1:], **kwargs))
        else:
            self._end((args, kwargs), outputs)

    def _end(self, inputs: Any, outputs: list[Tensor]) -> None:
        """An operation that mixes channels, or is unknown: its inputs stay, its outputs too."""
        self.pin(inputs)
        for output in outputs:
            self.set(output, torch.full((), PINNED).expand(output.shape))

    def pin(self, inputs: Any) -> None:
        """The channels of every activation in here must stay."""
        for tensor in _tensors(inputs):
            if tensor.is_floating_point():
                self.ties.pin(self.labels(tensor))

    def _map(self, inputs: Any) -> Any:
        """The same arguments with labels for activations; integers index as before."""
        if isinstance(inputs, Tensor):
            return self.labels(inputs) if inputs.is_floating_point() else inputs
        if isinstance(inputs, (list, tuple)):
            return type(inputs)(self._map(value) for value in inputs)
        if isinstance(inputs, dict):
            return {key: self._map(value) for key, value in inputs.items()}
        return inputs

    def _write(self, args: Any) -> None:
        target, where, value = args
        if not target.is_floating_point():
            return
        labels = self.labels(target).clone()
        labels[where] = self.labels(value) if isinstance(value, Tensor) else PINNED
        self.set(target, labels)

    def _sum(self, left: Any, right: Any, output: Tensor) -> Tensor:
        """Zero only where both are: tied."""
        a, b = self._as_labels(left, output), self._as_labels(right, output)
        self.ties.tie(a, b)
        return torch.maximum(a, b)

    def _product(self, left: Any, right: Any, output: Tensor) -> Tensor:
        """Zero where either is. A factor that is the same for all channels ties nothing."""
        found = torch.full((), PINNED).expand(output.shape)
        for factor, other in ((left, right), (right, left)):
            if not isinstance(factor, Tensor) or not self._has_channels(factor):
                continue
            mine = self._as_labels(factor, output)
            if isinstance(other, Tensor) and not _constant_where_varying(other, factor, mine):
                self.ties.tie(mine, self._as_labels(other, output))
            found = mine
        return found

    def _reduction(self, function: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        labels = self.labels(args[0])
        axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if axes is None or output.numel() == 0:
            self.ties.pin(labels)
            return torch.full((), PINNED).expand(output.shape)
        high = labels.amax(axes, keepdim=output.ndim == args[0].ndim)
        low = labels.amin(axes, keepdim=output.ndim == args[0].ndim)
        if torch.equal(high, low):
            return high
        self.ties.pin(labels)
        return torch.full((), PINNED).expand(output.shape)

    def _has_channels(self, tensor: Tensor) -> bool:
        return bool((self.labels(tensor) > PINNED).any())

    def _as_labels(self, operand: Any, output: Tensor) -> Tensor:
        if isinstance(operand, Tensor):
            return self.labels(operand).expand(output.shape)
        return torch.full((), NONE if operand == 0 else PINNED).expand(output.shape)


def _constant_where_varying(other: Tensor, factor: Tensor, labels: Tensor) -> bool:
    """Whether `other` has size 1 along every axis where the factor's labels differ."""
    for axis in range(1, labels.ndim + 1):
        varies = bool((labels != labels.narrow(-axis, 0, 1)).any())
        if varies and other.ndim >= axis and other.shape[-axis] != 1:
            return False
    return True


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    return []
