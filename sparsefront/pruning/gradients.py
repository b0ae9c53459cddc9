"""Gradients of a loss over batches, without touching the model's own .grad."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.groups import stage_of

Loss = Callable[[Any, Any], Tensor]
"""loss(model, batch) -> scalar."""


def sum_gradients(
    model: nn.Module, weights: Mapping[str, nn.Parameter], batches: Sequence[Any], loss: Loss
) -> dict[str, Tensor]:
    """Sum over the batches of dL/dw, by weight name; zeros where the loss does not see a weight.

    ArithmeticError for a loss that is not finite, InputError where there are no batches.
    """
    if len(batches) == 0:
        raise InputError("batches: none given; allowed: at least one")
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for batch in batches:
        for name, gradient in gradients(model, weights, batch, loss).items():
            total[name] += gradient
    return total


def sum_over_batches(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    batches: Sequence[Any],
    loss: Loss,
    score: Callable[[str, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Sum over the batches of score(name, g * w), g a batch's dL/dw, by weight name.

    ArithmeticError and InputError as above.
    """
    if len(batches) == 0:
        raise InputError("batches: none given; allowed: at least one")
    total: dict[str, Tensor] = {}
    for batch in batches:
        for name, gradient in gradients(model, weights, batch, loss).items():
            value = score(name, gradient * weights[name].detach())
            total[name] = total[name] + value if name in total else value
    return total


def gradients(
    model: nn.Module, weights: Mapping[str, nn.Parameter], batch: Any, loss: Loss
) -> dict[str, Tensor]:
    """dL/dw on one batch, by weight name."""
    with torch.enable_grad():
        value = finite_loss(model, batch, loss)
        found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    return {
        name: torch.zeros_like(weight) if gradient is None else gradient.detach()
        for (name, weight), gradient in zip(weights.items(), found, strict=True)
    }


def check_reached(weights: Mapping[str, nn.Parameter]) -> None:
    """InputError where no weight of a whole stage has a gradient after a backward pass."""
    reached: dict[str, bool] = {}
    for name, weight in weights.items():
        if weight.requires_grad:
            stage = stage_of(name)
            reached[stage] = reached.get(stage, False) or weight.grad is not None
    missed = [stage for stage, found in reached.items() if not found]
    if missed:
        raise InputError(
            f"loss: no gradient reaches {', '.join(missed)}; allowed: a loss that the weights of "
            "every stage change"
        )


def finite_loss(model: nn.Module, batch: Any, loss: Loss) -> Tensor:
    """The loss; ArithmeticError where it is not finite."""
    value = loss(model, batch)
    if not torch.isfinite(value):
        raise ArithmeticError(f"scoring loss is not finite: {value.item()}")
    return value
