"""Full precision where half of it would move points between cells or has no kernels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, anything else unchanged."""
    return x.float() if x.element_size() < 4 else x


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """The function outside autocast, whichever device that is on: for geometry (bfloat16 tells 128
    from 129 and no finer), scatters and sparse convolutions.
    """

    @wraps(function)
    def outside(*args: P.args, **kwargs: P.kwargs) -> T:
        with ExitStack() as stack:
            for kind in _device_types():
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            return function(*args, **kwargs)

    return outside


def _device_types() -> tuple[str, str, str]:
    return "cpu", "cuda", torch._C._get_privateuse1_backend_name()
