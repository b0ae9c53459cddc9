"""How channel labels pass through functions: what moves elements, ties them, or ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from sparsefront.pruning.channels.cuts import pin_cuts, pin_splits, varies
from sparsefront.pruning.channels.labels import NONE, PINNED, Ties, spread

MOVES = {
    "reshape", "view", "view_as", "permute", "transpose", "swapaxes", "movedim", "flatten",
    "unflatten", "contiguous", "cat", "concat", "concatenate", "stack", "split", "chunk", "unbind",
    "__getitem__", "select", "narrow", "roll", "expand", "expand_as", "unsqueeze", "squeeze",
    "repeat", "repeat_interleave", "flip", "clone", "detach", "index_select", "masked_select", "t",
    "gather", "take_along_dim", "moveaxis", "tile", "unfold", "index_put", "T", "mT",
}  # fmt: skip
"""Functions that only move elements."""

ADDS = {"index_put"}
"""Of these, those that add instead when told to (accumulate, the fourth argument)."""

RESHAPES = {"reshape", "view", "view_as", "unflatten"}

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


NEEDED = {**dict.fromkeys(SUMS | PRODUCTS | QUOTIENTS, 2), "index_add": 4, "index_add_": 4}
"""Arguments that must come by position to be understood; 1 elsewhere."""


class Flow:
    """The labels of activations, kept beside the tensors."""

    def __init__(self, ties: Ties) -> None:
        self.ties = ties
        self._known = WeakTensorKeyDictionary()

    def labels(self, tensor: Tensor) -> Tensor:
        """Labels of an activation; data that no layer made is PINNED."""
        known: Tensor | None = self._known.get(tensor)
        if known is None or known.shape != tensor.shape:
            return _all_pinned(tensor)
        return known

    def set(self, tensor: Tensor, labels: Tensor) -> None:
        self._known[tensor] = labels

    def follow(self, function: Callable[..., Any], args: Any, kwargs: Any, result: Any) -> None:
        """Labels a function's outputs from the labels of its inputs."""
        name = getattr(function, "__name__", "")
        if name == "__get__":  # attributes of a tensor: .T, .mT, .shape, ...
            name = getattr(getattr(function, "__self__", None), "__name__", "")
        if name == "__setitem__":
            self._write(args)
            return
        outputs = [t for t in tensors_of(result) if t.is_floating_point()]
        if not outputs:
            if tensors_of(result):  # orders, comparisons: integers carry no labels further
                self.pin((args, kwargs))
            return
        if name in ZEROS:
            self.set(outputs[0], torch.zeros((), dtype=torch.int64).expand(outputs[0].shape))
        elif len(args) < NEEDED.get(name, 1):
            self._end((args, kwargs), outputs)
        elif name in MOVES and not (kwargs.get("accumulate") or (name in ADDS and len(args) > 3)):
            self._move(name, function, args, kwargs, result)
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
            self.set(outputs[0], self._reduction(args, kwargs, outputs[0]))
        elif name in ("index_add", "index_add_") and args[0].ndim == 2 and args[1] in (0, 1):
            line = self.ties.along(self.labels(args[3]), 1 - args[1])
            labels = spread(line, tuple(outputs[0].shape), 1 - args[1])
            self.ties.tie(labels, self.labels(args[0]))
            self.set(outputs[0], labels)
        elif name == "pad" and _pads_zeros(args, kwargs):
            self.set(outputs[0], function(self.labels(args[0]), *args[1:], **kwargs))
        else:
            self._end((args, kwargs), outputs)

    def _move(
        self, name: str, function: Callable[..., Any], args: Any, kwargs: Any, result: Any
    ) -> None:
        """Moves labels as the function moves elements; pins what fixed numbers stand for."""
        if torch.is_tensor(args[0]):
            pin_cuts(self.ties, name, self.labels(args[0]), args, kwargs)
        moved = tensors_of(function(*self._map(args), **self._map(kwargs)))
        for output, labels in zip(tensors_of(result), moved, strict=True):
            if name in RESHAPES:
                pin_splits(self.ties, self.labels(args[0]), labels)
            self.set(output, labels)

    def _end(self, inputs: Any, outputs: list[Tensor]) -> None:
        """An operation that mixes channels, or is unknown: its inputs stay, its outputs too."""
        self.pin(inputs)
        for output in outputs:
            self.set(output, _all_pinned(output))

    def pin(self, inputs: Any) -> None:
        """The channels of every activation in here must stay."""
        for tensor in tensors_of(inputs):
            if tensor.is_floating_point():
                self.ties.pin(self.labels(tensor))

    def _map(self, inputs: Any) -> Any:
        """The same arguments with labels in place of activations; integers index as before."""
        if isinstance(inputs, Tensor):
            return self.labels(inputs) if inputs.is_floating_point() else inputs.cpu()
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
        labels[self._map(where)] = self.labels(value) if isinstance(value, Tensor) else PINNED
        pin_cuts(self.ties, "__getitem__", labels, (target, where), {})
        self.set(target, labels)

    def _sum(self, left: Any, right: Any, output: Tensor) -> Tensor:
        """A sum is zero only where both operands are: their channels are tied."""
        return self._tie_labels(self._as_labels(left, output), self._as_labels(right, output))

    def _product(self, left: Any, right: Any, output: Tensor) -> Tensor:
        """A product is zero where a factor is; a factor equal for all channels ties nothing."""
        mine = [t for t in (left, right) if isinstance(t, Tensor) and self._has_channels(t)]
        if not mine:
            return _all_pinned(output)
        if len(mine) == 1:
            other = right if mine[0] is left else left
            labels = self._as_labels(mine[0], output)
            if isinstance(other, Tensor) and not _constant_where_varying(other, labels):
                self.ties.tie(labels, self._as_labels(other, output))
            return labels
        a, b = self._as_labels(left, output), self._as_labels(right, output)
        if not (_constant_where_varying(right, a) and _constant_where_varying(left, b)):
            self.ties.tie(a, b)
            return torch.maximum(a, b)
        ends, stays = (right, a) if _number_of_channels(b) == 1 else (left, b)
        self.pin(ends)  # one factor for all channels of the other: that one has to be there
        if _number_of_channels(a) > 1 and _number_of_channels(b) > 1:
            self.pin((left, right))
            return _all_pinned(output)
        return stays

    def _reduction(self, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        labels = self.labels(args[0])
        axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if axes is not None and output.numel() > 0:
            keepdim = output.ndim == args[0].ndim
            high, low = labels.amax(axes, keepdim), labels.amin(axes, keepdim)
            if torch.equal(high, low):
                return high
        self.ties.pin(labels)
        return _all_pinned(output)

    def _tie_labels(self, a: Tensor, b: Tensor) -> Tensor:
        self.ties.tie(a, b)
        return torch.maximum(a, b)

    def _has_channels(self, tensor: Tensor) -> bool:
        return bool((self.labels(tensor) > PINNED).any())

    def _as_labels(self, operand: Any, output: Tensor) -> Tensor:
        if isinstance(operand, Tensor):
            return self.labels(operand).expand(output.shape)
        return torch.full((), NONE if operand == 0 else PINNED).expand(output.shape)


def _constant_where_varying(other: Tensor, labels: Tensor) -> bool:
    """Whether `other` has size 1 along every axis where these labels differ."""
    return all(
        other.ndim < -axis or other.shape[axis] == 1
        for axis in range(-labels.ndim, 0)
        if varies(labels, axis)
    )


def _number_of_channels(labels: Tensor) -> int:
    return int((labels.unique() > PINNED).sum())


def _pads_zeros(args: Any, kwargs: Any) -> bool:
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
    value = kwargs.get("value", args[3] if len(args) > 3 else None)
    return mode == "constant" and value in (None, 0)


def _all_pinned(tensor: Tensor) -> Tensor:
    return torch.full((), PINNED).expand(tensor.shape)


def tensors_of(value: Any) -> list[Tensor]:
    """Every tensor in a nest of lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_of(item)]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_of(item)]
    return []
