"""Our own checkpoints: safetensors, written atomically, loaded strictly, never unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.files.tensors import read_with_metadata, write_tensors


def save(
    path: str | Path, state: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Writes a model's state dict with string metadata; the file is there whole or not at all."""
    write_tensors(path, state.state_dict() if isinstance(state, nn.Module) else state, metadata)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. InputError in one line where it is absent or damaged."""
    if not Path(path).is_file():
        raise InputError(f"checkpoint: {path} does not exist; allowed: a .safetensors file")
    try:
        return read_with_metadata(path)
    except InputError as error:
        raise InputError(f"checkpoint: {error}") from error


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Copies `state` into the model. InputError naming the first key or shape that differs."""
    own = model.state_dict()
    problems = [f"{k} is missing" for k in own if k not in state]
    problems += [f"{k} is not in the model" for k in state if k not in own]
    problems += [
        f"{k} has shape {list(state[k].shape)}, the model {list(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        has = f"; the file has {next(iter(state))}, ..." if state else "; the file has nothing"
        prefix = _prefix(own, state)
        hint = f": all of its names have {prefix!r} before them" if prefix else ""
        raise InputError(
            f"checkpoint: {source} is of another model: {problems[0]}{more}{has}{hint}"
        )
    model.load_state_dict(dict(state))


def _prefix(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """What stands before every name of the file and not before the model's."""
    first = next(iter(own), None)
    ends = [name for name in state if first is not None and name.endswith(f".{first}")]
    if not ends or first is None:
        return None
    prefix = ends[0].removesuffix(first)
    return prefix if {prefix + name for name in own} == set(state) else None
