"""The learning rate's schedule by hand, and one gradient step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsefront.search.config.trial_spec import FineTuneSpec
from sparsefront.search.training.steps import (
    freeze_norms,
    parameter_groups,
    schedule,
    set_learning_rate,
    take_step,
)


def test_cosine_schedule_by_hand() -> None:
    """After 1 warm-up step of 5: 1/2, then (1 + cos(k pi / 4)) / 2."""
    spec = FineTuneSpec(steps=5, warmup=1)
    assert [schedule(spec, s, 5) for s in (0, 1, 3)] == pytest.approx([0.5, 1.0, 0.5])


def test_one_cycle_schedule_by_hand() -> None:
    """It starts at 1/25 and is at 1 after the warm-up."""
    spec = FineTuneSpec(steps=4, warmup=2, schedule="one_cycle")
    assert [schedule(spec, s, 4) for s in (0, 1, 2)] == pytest.approx([0.04, 0.52, 1.0])


def test_schedules_are_exact_in_float64() -> None:
    """Against the formulas, computed by NumPy: a warm-up of 3 of 12 steps, given as steps and as a
    share of them.
    """
    steps = np.arange(12, dtype=np.float64)
    warm = (steps + 1) / 4
    falling = (1 + np.cos(pi * (steps - 3) / 9)) / 2
    cosine = np.where(steps < 3, warm, falling)
    up = 1 - 0.96 * (1 + np.cos(pi * steps / 3)) / 2
    down = 1e-4 + (1 - 1e-4) * (1 + np.cos(pi * (steps - 3) / 9)) / 2
    one_cycle = np.where(steps < 3, up, down)
    for warmup in (3, 0.25):
        for kind, expected in (("cosine", cosine), ("one_cycle", one_cycle)):
            spec = FineTuneSpec(steps=12, warmup=warmup, schedule=kind)  # type: ignore[arg-type]
            found = np.array([schedule(spec, step, 12) for step in range(12)])
            np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-16)


def test_rate_of_a_group_is_scaled_by_its_own_factor() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups: list[dict[str, Any]] = [
        {"params": weights[:1]}, {"params": weights[1:], "lr_factor": 10.0},
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    set_learning_rate(optimizer, FineTuneSpec(steps=5, warmup=1, lr=0.5), 0, 5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 2.5]


def test_weight_decay_is_for_matrices_alone() -> None:
    layer, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    norm.weight.requires_grad_(False)
    decayed, others = parameter_groups([*layer.parameters(), *norm.parameters()], 0.1)
    assert decayed == {"params": [layer.weight], "weight_decay": 0.1}
    assert others == {"params": [layer.bias, norm.bias], "weight_decay": 0.0}


def test_frozen_norms_keep_their_statistics() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    freeze_norms(model)
    model(torch.randn(8, 2))
    assert model[0].training and not model[1].training
    assert not model[1].running_mean.any()  # type: ignore[union-attr, operator]


@dataclass
class Batch:
    """As much of a SensorBatch as a step looks at."""

    images: Tensor


def step(model: nn.Module, loss_of: Callable[[Any], Tensor], **fields: Any) -> tuple[float, float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batch: Any = Batch(images=torch.zeros(1))
    batches = [batch] * fields.get("accumulate", 1)
    return take_step(model, batches, optimizer, FineTuneSpec(**fields), loss_of)  # type: ignore[arg-type]


def test_step_by_hand() -> None:
    """Loss 3 w at w = 2: its gradient 3 is clipped to 1, so w becomes 1 at a rate of 1; the norm is
    that before clipping.
    """
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    loss, norm = step(model, lambda batch: 3 * model.weight.sum(), clip=1.0)
    assert (loss, norm) == (6.0, 3.0)
    assert model.weight.item() == pytest.approx(1.0, abs=1e-5)


def test_accumulated_gradients_are_those_of_the_larger_batch() -> None:
    """Of a loss that is a mean over frames, here (w x)^2: two batches of two are one of four."""
    frames = torch.tensor([1.0, 2.0, 3.0, 4.0])
    moved: list[tuple[float, ...]] = []
    for size in (4, 2):
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 0.5)
        batches: Any = [Batch(images=part) for part in frames.split(size)]
        loss, norm = take_step(
            model,  # type: ignore[arg-type]
            batches,
            torch.optim.SGD(model.parameters(), lr=0.01),
            FineTuneSpec(accumulate=len(batches), clip=100.0),
            partial(mean_square, model),
        )
        moved.append((loss, norm, model.weight.item()))
    assert moved[0] == pytest.approx(moved[1])
    assert moved[0] == pytest.approx((7.5 / 4, 7.5, 0.5 - 0.075))


def mean_square(model: nn.Linear, batch: Any) -> Tensor:
    return (model.weight * batch.images).square().mean()


def test_loss_that_is_not_finite_leaves_the_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.detach().clone()
    with pytest.raises(ArithmeticError, match="training loss is not finite: nan"):
        step(model, lambda batch: model.weight.sum() * float("nan"))
    assert torch.equal(model.weight, before)
