"""Latency as measured: median and spread of repeated forward passes, with the device's name."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.device import device_name, device_of, wait_for
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.preserved import kept_modes


@dataclass(frozen=True, kw_only=True)
class LatencySpec:
    """How a trial's latency is measured: timed passes, after others that only warm up."""

    repeats: int = 20
    warmup: int = 5

    def __post_init__(self) -> None:
        for name, low in (("repeats", 2), ("warmup", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name}: value {getattr(self, name)!r}; allowed: {low} and above")


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass: median and quartiles over `repeats`, after `warmup` passes
    that do not count; `device` names the processor and its threads, or the GPU.
    """

    median_ms: float
    quartile1_ms: float
    quartile3_ms: float
    repeats: int
    warmup: int
    device: str

    @staticmethod
    def _ms(value: float) -> str:
        return f"{value:.1f}" if value >= 10 else f"{value:.3g}"

    def __str__(self) -> str:
        low, high = self._ms(self.quartile1_ms), self._ms(self.quartile3_ms)
        return (
            f"{self._ms(self.median_ms)} ms (quartiles {low} to {high}, {self.repeats} passes "
            f"after {self.warmup}) on {self.device}"
        )


def latency(
    model: nn.Module,
    batches: Sequence[Any],
    forward: Forward = call,
    *,
    repeats: int = 20,
    warmup: int = 5,
) -> Latency:
    """Times forward(model, batch) over the batches in turn, in eval mode and without gradients.

    Unstructured zeros do not change it; removed channels do. InputError without batches or with
    fewer than two repeats.
    """
    if len(batches) == 0 or repeats < 2 or warmup < 0:
        raise InputError(
            f"latency: {len(batches)} batches, repeats {repeats}, warmup {warmup}; allowed: at "
            "least one batch, two repeats, no negative warm-up"
        )
    device = device_of(model)
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    times = []
    torch.use_deterministic_algorithms(False)  # as deployed: sums may come in any order
    try:
        with kept_modes(model), torch.no_grad():
            for number in range(warmup + repeats):
                batch = batches[number % len(batches)]
                wait_for(device)
                started = time.perf_counter()
                forward(model, batch)
                wait_for(device)
                if number >= warmup:
                    times.append(1000 * (time.perf_counter() - started))
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    first, _, third = statistics.quantiles(times, n=4, method="inclusive")
    return Latency(statistics.median(times), first, third, repeats, warmup, device_name(device))
