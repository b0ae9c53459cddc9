"""One gradient step, its learning rate and its batches, of dense training and fine-tuning alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.pruning.device import device_of
from sparsefront.search.config.gradient_steps import GradientStepsSpec


def take_step(
    model: nn.Module,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    spec: GradientStepsSpec,
    loss_of: Callable[[Any], Tensor],
) -> tuple[float, float]:
    """One step down the mean of the scalar `loss_of(batch)` over `spec.accumulate` batches; returns
    that loss and the norm of the gradients before clipping. ArithmeticError for a loss that is not
    finite: the weights are as before.
    """
    optimizer.zero_grad(set_to_none=True)
    half = spec.precision == "bfloat16"
    total = 0.0
    for batch in batches:
        with torch.autocast(device_of(model).type, dtype=torch.bfloat16, enabled=half):
            loss = loss_of(batch)
        if not torch.isfinite(loss):
            raise ArithmeticError(f"training loss is not finite: {loss.item()}")
        (loss / spec.accumulate).backward()
        total += loss.item() / spec.accumulate
    norm = nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
    optimizer.step()
    return total, norm.item()


def set_learning_rate(
    optimizer: torch.optim.Optimizer, spec: GradientStepsSpec, step: int, steps: int
) -> None:
    """The schedule's rate at a step, times each parameter group's own `lr_factor`, if any."""
    for group in optimizer.param_groups:
        factor = group.get("lr_factor", 1.0) * schedule(spec, step, steps)
        group["lr"] = spec.lr * factor


def schedule(spec: GradientStepsSpec, step: int, steps: int) -> float:
    """Factor of the learning rate at a step, 0..1."""
    share = spec.warmup_share(steps)
    if spec.schedule == "one_cycle":
        return one_cycle(step / steps, share)
    return warm_cosine(step, steps, spec.warmup if spec.warmup >= 1 else round(share * steps))


def warm_cosine(step: int, steps: int, warmup: float) -> float:
    """(step + 1) / (warmup + 1) while warming up, then cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def one_cycle(progress: float, warmup_share: float) -> float:
    """At progress 0..1: cosine from 1/25 to 1, then cosine to 1e-4 (Smith & Topin 2018, with the
    shape of torch's OneCycleLR).
    """
    if progress < warmup_share:
        return _cosine(1 / 25, 1.0, progress / warmup_share)
    return _cosine(1.0, 1e-4, min(1.0, (progress - warmup_share) / (1 - warmup_share)))


def freeze_norms(model: nn.Module) -> None:
    """Batch norms use their running statistics and leave them as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float
) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels; none for biases and norms."""
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
