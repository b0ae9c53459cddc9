"""State dicts of mit-han-lab/bevfusion: its names, its sparse layout, its geometric constants.

Weights of sparse convolutions are [k0, k1, k2, in, out] there and [out, k0, k1, k2, in] here. dx,
bx, nx, frustum and relative_position_index follow from the configuration: they are compared, not
loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

PREFIXES = {
    "camera.": "encoders.camera.",
    "lidar.": "encoders.lidar.",
    "radar.": "encoders.radar.",
    "fusion.fuser.": "fuser.",
    "fusion.decoder.": "decoder.",
    "fusion.heads.": "heads.",
}
GEOMETRY = ("dx", "bx", "nx", "frustum")
FIXED = (*GEOMETRY, "relative_position_index")


@dataclass(frozen=True)
class Entry:
    """One entry of a published state dict: its tensor in the published layout, param or buffer."""

    tensor: Tensor
    kind: str


@dataclass(frozen=True)
class Matched:
    """What a file gave: entries loaded, sparse weights turned, constants compared, keys left out
    that may be (num_batches_tracked).
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


def published_name(name: str) -> str:
    """Our name of a module, parameter or buffer -> the published one."""
    for ours, theirs in PREFIXES.items():
        if f"{name}.".startswith(ours):
            whole = theirs + f"{name}."[len(ours) :].replace("vtransform.geometry.", "vtransform.")
            return whole.removesuffix(".")
    raise ValueError(f"{name}: the published models have no such part")


def published_entries(model: nn.Module) -> dict[str, Entry]:
    """The state dict as published, constants included; those of the view transform are parameters
    there.
    """
    parameters = {name for name, _ in model.named_parameters()}
    saved = model.state_dict().keys()
    found = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        last = name.rpartition(".")[2]
        if name not in saved and last not in GEOMETRY:
            continue
        kind = "param" if name in parameters or last in GEOMETRY else "buffer"
        turned = tensor.detach().permute(1, 2, 3, 4, 0) if tensor.ndim == 5 else tensor.detach()
        found[published_name(name)] = Entry(turned, kind)
    return found


def read(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .pth or .safetensors file, whatever it wraps them in; nothing but tensors is
    unpickled. ValueError in one line for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"checkpoint: {path} does not exist; allowed: a .pth or .safetensors file")
    if path.suffix == ".safetensors":
        from models.checkpoint import store

        return store.load(path)[0]
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or unsafe files
        raise ValueError(
            f"checkpoint: {path} is damaged or holds more than tensors ({type(error).__name__})"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(torch.is_tensor(v) for v in found.values()):
        raise ValueError(f"checkpoint: {path} holds no state dict of tensors")
    return {key.removeprefix("module."): value for key, value in found.items()}


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> Matched:
    """Copies a published state dict into the model, all of it or nothing. ValueError in one line
    for a key too many or too few, another shape, or constants of another configuration.
    """
    own = model.state_dict()
    wanted = {published_name(name): name for name in own}
    constants = {k: e.tensor for k, e in published_entries(model).items() if _last(k) in FIXED}
    problems: list[str] = []
    absent: list[str] = []
    ours, turned = {}, 0
    for key, name in wanted.items():
        if key in constants:
            ours[name] = own[name]
        elif key not in state:
            (absent if _last(key) == "num_batches_tracked" else problems).append(
                f"{key} is missing"
            )
            ours[name] = own[name]
        else:
            fitting = _fitting(state[key], own[name].shape)
            if fitting is None:
                shape = list(own[name].shape)
                problems.append(f"{key} has shape {list(state[key].shape)}, the model {shape}")
            else:
                ours[name], was_turned = fitting
                turned += was_turned
    for key in state:
        if key not in wanted and key not in constants:
            problems.append(f"{key} is not in the model")
    compared = [key for key in constants if key in state]
    for key in compared:
        if not _same(state[key], constants[key]):
            problems.append(f"{key} differs: the checkpoint is of another configuration")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"checkpoint: {source} is of another model: {problems[0]}{more}")
    model.load_state_dict(ours)
    loaded = len(wanted) - len(absent) - sum(key in wanted for key in constants)
    return Matched(loaded, turned, len(compared), tuple(absent))


def _fitting(tensor: Tensor, shape: torch.Size) -> tuple[Tensor, bool] | None:
    """The tensor in our layout, and whether it had to be turned; None where neither fits."""
    if tensor.shape == shape:
        return tensor, False
    if tensor.ndim == 5 and tensor.permute(4, 0, 1, 2, 3).shape == shape:
        return tensor.permute(4, 0, 1, 2, 3).contiguous(), True
    return None


def _same(tensor: Tensor, constant: Tensor) -> bool:
    return tensor.shape == constant.shape and torch.allclose(
        tensor.double(), constant.double(), rtol=1e-5, atol=1e-5
    )


def _last(key: str) -> str:
    return key.rpartition(".")[2]
