"""The device that a field or an option `device` means in this process."""

from __future__ import annotations

import os
from typing import Literal

import torch

from sparsefront.errors import InputError

Device = Literal["auto", "cpu", "cuda"]
SPCONV_LEAST = (6, 0)
"""Compute capability from which spconv's wheels have kernels; newer ones get theirs from PTX."""


def resolve_device(device: str) -> str:
    """'auto' is the accelerator that this process may see, else the CPU. InputError for one that is
    asked for and cannot be used.
    """
    if device == "cpu":
        return device
    found = usable_accelerator()
    if device == "auto":
        return found or "cpu"
    if found is None or device.partition(":")[0] != found:
        raise InputError(
            f"device: value {device!r}: {why_no_gpu()}; allowed: auto, cpu, or cuda where torch "
            "can use a GPU"
        )
    return device


def usable_accelerator() -> str | None:
    """CUDA, or a device that another package has registered with torch. None where there is
    nothing, or CUDA_VISIBLE_DEVICES hides it. InputError for a GPU without kernels.
    """
    if torch.cuda.is_available():
        if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
            return None
        check_architecture(torch.cuda.get_device_capability(), torch.cuda.get_arch_list())
        return "cuda"
    own = torch._C._get_privateuse1_backend_name()
    return own if own != "privateuseone" and torch.accelerator.is_available() else None


def check_architecture(capability: tuple[int, int], built_for: list[str]) -> None:
    """InputError where torch or spconv has no kernels for a GPU: torch's run on later devices of
    the same major version, and on any later one where there is PTX (compute_).
    """
    own = 10 * capability[0] + capability[1]
    kinds = [(kind, int("".join(filter(str.isdigit, n)))) for kind, _, n in (
        name.partition("_") for name in built_for)]  # fmt: skip
    same = any(kind == "sm" and n // 10 == own // 10 and n <= own for kind, n in kinds)
    later = any(kind == "compute" and n <= own for kind, n in kinds)
    if not (same or later):
        raise InputError(
            f"device: the GPU has compute capability {capability[0]}.{capability[1]}, for which "
            f"this torch has no kernels; allowed: {', '.join(built_for)}, another build of torch, "
            "or cpu"
        )
    if capability < SPCONV_LEAST:
        raise InputError(
            f"device: the GPU has compute capability {capability[0]}.{capability[1]}, for which "
            "spconv has no kernels; allowed: 6.0 and above, or cpu"
        )


def why_no_gpu() -> str:
    """Why torch uses no GPU here."""
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is a build without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    if torch.cuda.device_count() == 0:
        return f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU or no driver"
    return "torch cannot use the GPU that is there; nvidia-smi says whether its driver is too old"
