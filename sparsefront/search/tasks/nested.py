"""Tensors at any depth of a batch or of a model's outputs."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

PLAIN = (
    str, bytes, bool, int, float, complex, np.ndarray, np.generic, enum.Enum, os.PathLike,
    datetime.date, datetime.timedelta, torch.dtype, torch.device, torch.Size, slice, range, type,
)  # fmt: skip
"""What a batch may hold beside tensors."""


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Those of lists, tuples, sets, mappings, dataclasses and of objects that hold tensors."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif hasattr(value, "__dict__") and not isinstance(value, (type, torch.nn.Module)):
        for item in vars(value).values():
            yield from tensors_in(item)


def moved(value: Any, device: str | torch.device) -> Any:
    """The same with its tensors on a device; anything else stays as it is. An object that has a
    method `to` is asked itself.
    """
    if isinstance(value, Tensor):
        return value.to(device)
    if callable(getattr(value, "to", None)) and not isinstance(value, type):
        return value.to(device)
    if isinstance(value, Mapping):
        found = {key: moved(item, device) for key, item in value.items()}
        return found if type(value) is dict else _like(value, found)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, device) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            f.name: moved(getattr(value, f.name), device)
            for f in dataclasses.fields(value)
            if f.init
        }
        return dataclasses.replace(value, **changed)
    if hasattr(value, "__dict__") and next(tensors_in(value), None) is not None:
        again = copy.copy(value)
        vars(again).update({name: moved(item, device) for name, item in vars(value).items()})
        return again
    return value


def unknown_in(value: Any) -> str | None:
    """The type of something that may hold tensors where nobody looks; None where nothing does."""
    if value is None or isinstance(value, (Tensor, *PLAIN)):
        return None
    if isinstance(value, Mapping):
        return next(filter(None, map(unknown_in, value.values())), None)
    if isinstance(value, (list, tuple, set, frozenset)):
        return next(filter(None, map(unknown_in, value)), None)
    if callable(getattr(value, "to", None)):
        return None
    if hasattr(value, "__dict__") and not callable(value) and not hasattr(value, "__slots__"):
        return next(filter(None, map(unknown_in, vars(value).values())), None)
    return type(value).__name__


def _like(value: Mapping[Any, Any], found: dict[Any, Any]) -> Any:
    """A mapping of the same class where that can be made of a dict."""
    try:
        return type(value)(found)  # type: ignore[call-arg]
    except TypeError:
        return found
