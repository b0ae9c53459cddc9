"""The protocol of a task: a model, its data and its metrics, as a sweep may bring its own.

A task is a frozen dataclass whose fields are its options; a sweep file names it by import path:

    trial:
      task: {name: mypackage.tasks:MyTask, root: data}
      checkpoint: dense.pt

docs/own_model.md takes a reader through it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from sparsefront.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that a task's `evaluate` returns.

    direction  whether it should be large ("max") or small ("min")
    worst      the value that counts nothing in the hypervolume, such as chance
    best       the best possible value
    unit       for tables and charts
    """

    direction: Literal["max", "min"] = "max"
    worst: float = 0.0
    best: float = 1.0
    unit: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise InputError(f"direction: value {self.direction!r}; allowed: max, min")
        if not (math.isfinite(self.worst) and math.isfinite(self.best)):
            raise InputError(
                f"worst, best: values {self.worst!r}, {self.best!r}; allowed: finite numbers"
            )
        if not (self.worst < self.best if self.direction == "max" else self.best < self.worst):
            side = "above" if self.direction == "max" else "below"
            raise InputError(
                f"best: value {self.best!r}; allowed with direction {self.direction!r}: {side} "
                f"worst ({self.worst!r})"
            )


@runtime_checkable
class Task(Protocol):
    """What a trial needs of a model, its data and its metrics.

    Methods that a task may have beside these; without them the default holds:

    groups(model) -> ModalityGroups           the first part of each weight's name is its modality
    forward(model, batch) -> Any              model(batch); tensors at any depth of what it returns
    features(model, batch) -> {name: Tensor}  none: no CrossPrune, no distillation from maps, no
                                              pictures of maps
    to_device(batch, device) -> Any           tensors at any depth of lists, tuples, mappings and
                                              dataclasses are moved
    """

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Name -> what a number of `evaluate` means."""

    def build(self) -> nn.Module:
        """A fresh model, with the names of the checkpoint's tensors. With `checkpoint: none` its
        weights are the trained ones.
        """

    def training_batches(self, seed: int) -> Iterable[Any]:
        """One epoch or endlessly many, the same ones for the same seed: for training, for scores,
        for the repair and for norms.
        """

    def evaluation_batches(self, share: float) -> Sequence[Any]:
        """A share of the evaluation data, the same batches every time. Costs and latency are those
        of the first ones, a forward pass each.
        """

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The scalar to train on, which criteria differentiate too."""

    def evaluate(self, model: nn.Module, share: float, device: str) -> Mapping[str, float]:
        """All of `metrics`, on that share of the evaluation data. The model is in eval mode, on the
        device; gradients are off.
        """
