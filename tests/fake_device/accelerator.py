"""Registers the stand-in as device "fake" and makes spconv take it for a GPU. Import before
anything of the package; for a process of its own, as it stays registered.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import torch
from torch.utils import cpp_extension

NAME = "fake"
SOURCE = Path(__file__).with_name("accelerator.cpp")


def missing() -> str | None:
    """What keeps the extension from being compiled here; None where nothing does."""
    if shutil.which("c++") is None and shutil.which("g++") is None:
        return "no C++ compiler"
    include = Path(sysconfig.get_paths()["include"])
    return None if (include / "Python.h").is_file() else f"no {include}/Python.h"


def compiled() -> Any:
    """Once for each installed torch; the folder is torch's own cache of extensions."""
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # ninja
    version = torch.__version__.replace(".", "_").replace("+", "_")
    return cpp_extension.load(
        name=f"sparsefront_fake_device_{version}", sources=[str(SOURCE)],
        extra_cflags=["-O1", "-g0", "-w"],
    )  # fmt: skip


def register() -> Any:
    """The native module, once torch knows the device."""
    native = compiled()
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, _module(native))
    torch.utils.generate_methods_for_privateuse1_backend()
    return native


def _module(native: Any) -> types.ModuleType:
    """torch.fake, as torch.cuda is."""
    module: Any = types.ModuleType(f"torch.{NAME}")
    module.is_available = lambda: True
    module.is_initialized = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: native.seed(seed % 2**63)
    module.manual_seed = module.manual_seed_all
    module.get_rng_state = lambda device=None: native.rng_state()
    module.set_rng_state = lambda state, device=None: native.set_rng_state(state)
    module.synchronize = lambda device=None: None
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module.get_device_name = lambda device=None: "stand-in accelerator"
    module.memory_allocated = lambda device=None: native.memory_allocated()
    module.max_memory_allocated = lambda device=None: native.max_memory_allocated()
    module.reset_peak_memory_stats = lambda device=None: native.reset_peak_memory_stats()
    module.empty_cache = lambda: None
    module.limit_memory = native.limit_memory
    return module
