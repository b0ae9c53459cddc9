"""Our own checkpoints: safetensors, written atomically, read strictly, never unpickled."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsefront.errors import InputError


def save(
    path: str | Path, state: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a state dict and string metadata to a temporary name, then rename it to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = state.state_dict() if isinstance(state, nn.Module) else state
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
            temporary,
            dict(metadata),
        )
        os.chmod(temporary, 0o644)  # mkstemp made it private
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. InputError in one line where it is absent or damaged."""
    if not Path(path).is_file():
        raise InputError(f"checkpoint: {path} does not exist; allowed: a .safetensors file")
    try:
        with safe_open(str(path), framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"checkpoint: {path} is not a whole safetensors file ({reason})"
        ) from error


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy `state` into the model. InputError where a key or a shape differs, naming the first."""
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
        raise InputError(f"checkpoint: {source} is of another model: {problems[0]}{more}")
    model.load_state_dict(dict(state))
