"""The accelerator that tensors are on: its random state, its queue, its name. The CPU has none of
the three, so that callers need not ask.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are; the CPU for a model without any."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def random_state(device: torch.device) -> Tensor | None:
    """Of the device's own generator, from which dropout on it draws; None on the CPU."""
    if device.type == "cpu":
        return None
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state.cpu()


def set_random_state(device: torch.device, state: Tensor | None) -> None:
    if state is not None and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state, device)


@contextmanager
def forked_random(device: torch.device) -> Iterator[None]:
    """Inside, draws change neither torch's generator nor the device's; other devices are left
    alone.
    """
    before = random_state(device)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            set_random_state(device, before)


def wait_for(device: torch.device) -> None:
    """Until all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the threads that torch uses."""
    if device.type == "cpu":
        return f"{_processor()}, {torch.get_num_threads()} threads"
    return accelerator_name(device)


def accelerator_name(device: torch.device) -> str:
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(named(device)) if named is not None else str(device)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
