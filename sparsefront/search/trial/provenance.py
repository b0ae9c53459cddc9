"""Where a result comes from: the commit of the code beside it, and the versions that ran."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sparsefront.pruning.device import accelerator_name

PACKAGES = ("sparsefront", "torch", "spconv", "numpy")
SPCONV_WHEELS = ("spconv-cu120", "spconv-cu126", "spconv")


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"commit": hash, "dirty": tracked files differ from it} of the repository that a folder is
    in; None outside of one, or without git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changed)}


def environment(device: str) -> dict[str, str]:
    """Versions of Python and of what computes, and the device, as this process has them."""
    found = {"python": platform.python_version()}
    wheels = {"spconv": SPCONV_WHEELS}
    found |= {name: _version(*wheels.get(name, (name,))) for name in PACKAGES}
    found["torch"] = torch.__version__  # with the build, as in +cpu
    return {**found, "device": device_name(device)}


def device_name(device: str) -> str:
    """The GPU's own name, or the processor's architecture."""
    if torch.device(device).type == "cpu":
        return f"cpu {platform.machine()}"
    return accelerator_name(torch.device(device))


def _version(*names: str) -> str:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
