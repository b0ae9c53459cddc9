"""Tensors by name in a safetensors file, which is never unpickled and is written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sparsefront.errors import InputError, one_line
from sparsefront.files.atomic import replacing


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Tensors of any shape and device with string metadata; shared or strided ones are copied."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, None if metadata is None else dict(metadata))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file, on the CPU. InputError for a missing or corrupt file."""
    return read_with_metadata(path)[0]


def read_with_metadata(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The same, and the file's metadata."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a whole safetensors file: {one_line(error)}") from error
