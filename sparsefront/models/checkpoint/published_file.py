"""Reads published checkpoints safely, loads them strictly (all or nothing), and writes them back.

dx, bx, nx, frustum and relative_position_index follow from the configuration: they are compared,
not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.files.atomic import replacing
from sparsefront.models.checkpoint.dialect import COUNTER, FIXED, Dialect, published_entries

WRAPPERS = ("state_dict", "model_state", "model")
"""Keys under which training code keeps a state dict."""


@dataclass(frozen=True)
class LoadReport:
    """What was loaded from a file: entries loaded, sparse weights turned, constants compared, and
    the keys that are absent and may be (num_batches_tracked).
    """

    loaded: int
    turned: int
    compared: int
    absent: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.loaded} entries loaded, {self.turned} sparse weights turned, {self.compared} "
            f"constants equal, {len(self.absent)} counters absent"
        )


def read(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a .pth or .safetensors file under any of WRAPPERS; nothing but tensors
    is unpickled. InputError in one line for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint: {path} does not exist; allowed: a .pth or .safetensors file")
    if path.suffix == ".safetensors":
        from sparsefront.models.checkpoint import store

        return store.load(path)[0]
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or unsafe files
        raise InputError(
            f"checkpoint: {path} is damaged or holds more than tensors ({type(error).__name__})"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(torch.is_tensor(v) for v in found.values()):
        raise InputError(f"checkpoint: {path} holds no state dict of tensors")
    return {key.removeprefix("module."): value for key, value in found.items()}


def load_into(
    model: nn.Module, dialect: Dialect, state: Mapping[str, Tensor], source: str | Path
) -> LoadReport:
    """Copies a published state dict into the model, all of it or none. InputError in one line
    for a key too many or too few, another shape, or constants of another configuration.
    """
    own = model.state_dict()
    wanted = {dialect.their_name(name): name for name in own}
    entries = published_entries(model, dialect)
    constants = {k: e.tensor for k, e in entries.items() if _last(k) in FIXED}
    problems: list[str] = []
    absent: list[str] = []
    ours, turned = {}, 0
    for key, name in wanted.items():
        if key in constants:
            ours[name] = own[name]
        elif key not in state:
            (absent if _last(key) == COUNTER else problems).append(f"{key} is missing")
            ours[name] = own[name]
        else:
            fitting = dialect.to_ours(name, state[key], own[name].shape)
            if fitting is None:
                shape = list(entries[key].tensor.shape)
                problems.append(f"{key} has shape {list(state[key].shape)}, the model {shape}")
            else:
                ours[name] = fitting
                turned += state[key].ndim == 5
    for key in state:
        if key not in wanted and key not in constants and key not in dialect.buffers:
            problems.append(f"{key} is not in the model")
    compared = [key for key in constants if key in state]
    for key in compared:
        if not _same(state[key], constants[key]):
            problems.append(f"{key} differs: the checkpoint is of another configuration")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"checkpoint: {source} is of another model: {problems[0]}{more}")
    model.load_state_dict(ours)
    loaded = len(wanted) - len(absent) - sum(key in wanted for key in constants)
    return LoadReport(loaded, turned, len(compared), tuple(absent))


def save(model: nn.Module, dialect: Dialect, path: str | Path) -> None:
    """Writes the model's weights as its code base stores them: names, layouts, constants, wrapper.
    `torch.load(..., weights_only=True)` reads the file there, `read` here; it is there whole or not
    at all.
    """
    state = {
        key: entry.tensor.detach().cpu().contiguous().clone()
        for key, entry in published_entries(model, dialect).items()
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save({dialect.wrapper: state}, file)  # to a path, it would store the path's name too


def _same(tensor: Tensor, constant: Tensor) -> bool:
    return tensor.shape == constant.shape and torch.allclose(
        tensor.double(), constant.double(), rtol=1e-5, atol=1e-5
    )


def _last(key: str) -> str:
    return key.rpartition(".")[2]
