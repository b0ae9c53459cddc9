"""Compares what two devices give."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def assert_close(found: Any, wanted: Any, tolerance: float, where: str = "") -> None:
    """Tensors at any depth, moved to the CPU: apart by at most the share of the largest value."""
    if isinstance(wanted, Tensor):
        found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
        assert found.shape == wanted.shape, where
        if wanted.numel():
            room = tolerance * max(1.0, float(wanted.abs().max()))
            apart = float((found - wanted).abs().max())
            assert apart <= room, f"{where}: {apart:.2e} apart, at most {room:.2e}"
    elif isinstance(wanted, Mapping):
        assert list(found) == list(wanted), where
        for key, value in wanted.items():
            assert_close(found[key], value, tolerance, f"{where}.{key}")
    elif isinstance(wanted, (list, tuple)):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_close(one, other, tolerance, f"{where}[{number}]")


def same_scores(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float
) -> None:
    """Scores by weight, apart by at most that share of the largest of each weight."""
    assert list(found) == list(wanted)
    for name, score in wanted.items():
        largest = float(score.abs().max())
        apart = float((found[name].cpu() - score).abs().max())
        assert apart <= tolerance * max(largest, 1e-12), f"{name}: {apart:.2e} of {largest:.2e}"


def moved(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """A copy on the device."""
    return copy.deepcopy(model).to(device)
