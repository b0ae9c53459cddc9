"""Short training of the surviving weights, the pruning mask held at every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import torch
from torch import nn

from models.fusion_model import FusionModel
from pruning.mask import PruningMask
from scenes.batch import SensorBatch
from scenes.loader import Loader
from search.train import endless, parameter_groups
from search.trial_spec import FineTuneSpec

Progress = Callable[[float], None]


def fine_tune(
    model: FusionModel,
    mask: PruningMask,
    loader: Loader,
    spec: FineTuneSpec,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[float]:
    """AdamW, linear warm-up, cosine decay to 0; returns the loss of each step.

    Pruned weights are zero after every step, and so is their optimizer state. A loss that is not
    finite raises ArithmeticError. `steps = 0` does nothing.
    """
    if spec.steps == 0:
        return []
    optimizer = torch.optim.AdamW(parameter_groups(model, spec.weight_decay), lr=spec.lr)
    losses: list[float] = []
    _training_mode(model, spec)
    with mask.hold(model, optimizer):
        for step, batch in enumerate(islice(endless(loader), spec.steps)):
            for group in optimizer.param_groups:
                group["lr"] = spec.lr * warm_cosine(step, spec.steps, spec.warmup)
            losses.append(_step(model, batch.to(device), optimizer, spec.clip))
            if progress is not None:
                progress((step + 1) / spec.steps)
    model.eval()
    return losses


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: (step+1)/(warmup+1) while warming up, then cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def _step(
    model: FusionModel, batch: SensorBatch, optimizer: torch.optim.Optimizer, clip: float
) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = model.loss(batch)
    if not torch.isfinite(loss):
        raise ArithmeticError(f"fine-tuning loss is not finite: {loss.item()}")
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


def _training_mode(model: FusionModel, spec: FineTuneSpec) -> None:
    model.train()
    if spec.batch_norm == "eval":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
