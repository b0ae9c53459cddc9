"""Tensors at any depth of a batch or of a model's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


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
    if isinstance(value, Mapping):
        found = {key: moved(item, device) for key, item in value.items()}
        return found if type(value) is dict else _like(value, found)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, device) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(item, device) for item in value)
    if callable(getattr(value, "to", None)) and not isinstance(value, type):
        return value.to(device)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            f.name: moved(getattr(value, f.name), device)
            for f in dataclasses.fields(value)
            if f.init
        }
        return dataclasses.replace(value, **changed)
    return value


def _like(value: Mapping[Any, Any], found: dict[Any, Any]) -> Any:
    """A mapping of the same class where that can be made of a dict."""
    try:
        return type(value)(found)  # type: ignore[call-arg]
    except TypeError:
        return found
