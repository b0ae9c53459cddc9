"""The weights of a model of one's own: safetensors, or what torch reads without running code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsefront.errors import InputError
from sparsefront.models.checkpoint import store

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights beside their own state."""


def read_state(path: str) -> dict[str, Tensor]:
    """Tensor by name. InputError, one line, for a file that is missing, needs code to be run, or
    holds something else.
    """
    if path.endswith(".safetensors"):
        return store.load(path)[0]
    if not Path(path).is_file():
        raise InputError(f"checkpoint: {path} does not exist; allowed: .safetensors, .pt, or none")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"checkpoint: {path}: holds more than tensors, or is no file of torch.save "
            f"({type(error).__name__}); allowed: a state dict, as torch.save(model.state_dict(), "
            "FILE) writes it, read with weights_only=True"
        ) from error
    return _tensors(found, path)


def _tensors(found: Any, path: str) -> dict[str, Tensor]:
    while isinstance(found, Mapping):
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return {str(name): tensor.detach() for name, tensor in found.items()}
        inside = [key for key in WRAPPERS if isinstance(found.get(key), Mapping)]
        if not inside:
            break
        found = found[inside[0]]
    raise InputError(
        f"checkpoint: {path} holds no state dict; allowed: tensors by name, or those under one of "
        f"{', '.join(WRAPPERS)}"
    )
