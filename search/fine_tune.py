"""Short training of the surviving weights, the pruning mask held at every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor, nn

from models.fuser import PREFIX
from models.fusion_model import FusionModel
from pruning.mask import PruningMask
from scenes.batch import SensorBatch
from scenes.loader import Loader
from search.distill import distillation
from search.moving_average import MovingAverage
from search.train import endless, one_cycle, parameter_groups
from search.trial_spec import FineTuneSpec

Progress = Callable[[float], None]


def fine_tune(
    model: FusionModel,
    mask: PruningMask,
    loader: Loader,
    spec: FineTuneSpec,
    *,
    teacher: FusionModel | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[float]:
    """AdamW under the spec's schedule; returns the loss of each step, distillation included.

    Pruned weights are zero after every step, and so is their optimizer state. `teacher` is the
    dense model, needed to distil. A loss that is not finite raises ArithmeticError. `steps = 0`
    does nothing.
    """
    if spec.steps == 0:
        return []
    optimizer = torch.optim.AdamW(tuned_groups(model, spec), lr=spec.lr)
    average = MovingAverage(model, spec.ema) if spec.ema > 0 else None
    losses: list[float] = []
    _training_mode(model, spec)
    with mask.hold(model, optimizer):
        for step, batch in enumerate(islice(endless(loader), spec.steps)):
            for group in optimizer.param_groups:
                group["lr"] = spec.lr * group.get("lr_factor", 1.0) * schedule(spec, step)
            losses.append(_step(model, teacher, batch.to(device), optimizer, spec))
            if average is not None:
                average.update(model)
            if progress is not None:
                progress((step + 1) / spec.steps)
    if average is not None:
        average.copy_to(model)
    model.eval()
    return losses


def tuned_groups(model: FusionModel, spec: FineTuneSpec) -> list[dict[str, object]]:
    """The groups of dense training; the fuser's weights apart where they learn at their own rate.
    ValueError for such a rate in a model without a fuser.
    """
    if spec.fuser_lr == 1.0:
        return parameter_groups(model.parameters(), spec.weight_decay)
    fuser = [p for name, p in model.named_parameters() if name.startswith(PREFIX)]
    others = [p for name, p in model.named_parameters() if not name.startswith(PREFIX)]
    if not fuser:
        raise ValueError(
            f"fuser_lr: value {spec.fuser_lr!r}; the model has no weights in {PREFIX[:-1]}; "
            "allowed: 1"
        )
    own = parameter_groups(fuser, spec.weight_decay)
    return [
        *parameter_groups(others, spec.weight_decay),
        *({**group, "lr_factor": spec.fuser_lr} for group in own),
    ]


def schedule(spec: FineTuneSpec, step: int) -> float:
    """Factor of the learning rate at a step."""
    if spec.schedule == "one_cycle":
        return one_cycle(step / spec.steps, spec.warmup / spec.steps)
    return warm_cosine(step, spec.steps, spec.warmup)


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: (step+1)/(warmup+1) while warming up, then cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def _step(
    model: FusionModel,
    teacher: FusionModel | None,
    batch: SensorBatch,
    optimizer: torch.optim.Optimizer,
    spec: FineTuneSpec,
) -> float:
    optimizer.zero_grad(set_to_none=True)
    half = spec.precision == "bfloat16"
    with torch.autocast(batch.images.device.type, dtype=torch.bfloat16, enabled=half):
        loss = _loss(model, teacher, batch, spec)
    if not torch.isfinite(loss):
        raise ArithmeticError(f"fine-tuning loss is not finite: {loss.item()}")
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
    optimizer.step()
    return loss.item()


def _loss(
    model: FusionModel, teacher: FusionModel | None, batch: SensorBatch, spec: FineTuneSpec
) -> Tensor:
    if teacher is None:
        return model.loss(batch)
    features = model.features(batch)
    outputs = model.heads(features)
    return model.task_loss(outputs, batch) + distillation(
        features, outputs, teacher, batch, spec.distill_features, spec.distill_heads
    )


def _training_mode(model: FusionModel, spec: FineTuneSpec) -> None:
    model.train()
    if spec.batch_norm == "eval":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
