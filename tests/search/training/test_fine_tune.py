"""Schedules, moving average and distillation, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sparsefront.search.config.trial_spec import FineTuneSpec
from sparsefront.search.training.distill import distillation
from sparsefront.search.training.moving_average import MovingAverage
from sparsefront.search.training.steps import schedule


def test_schedules_by_hand() -> None:
    """Cosine after 1 warm-up step of 5: 1/2, then (1 + cos(k pi / 4)) / 2. One-cycle starts at
    1/25 and is at 1 after the warm-up.
    """
    cosine = FineTuneSpec(steps=5, warmup=1)
    assert [schedule(cosine, s) for s in (0, 1, 3)] == pytest.approx([0.5, 1.0, 0.5])
    cycle = FineTuneSpec(steps=4, warmup=2, schedule="one_cycle")
    assert [schedule(cycle, s) for s in (0, 1, 2)] == pytest.approx([0.04, 0.52, 1.0])


def test_moving_average_by_hand() -> None:
    """Decay 0.5 is 0.1 at the first update and 2/11 at the second: 0.1 * 0 + 0.9 * 10 = 9, then
    2/11 * 9 + 9/11 * 20 = 18.
    """
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = MovingAverage(model, 0.5)
    for value in (10.0, 20.0):
        nn.init.constant_(model.weight, value)
        average.update(model)
    average.copy_to(model)
    assert model.weight.item() == pytest.approx(18.0)


def test_distillation_by_hand() -> None:
    """Features (3, 4) against (0, 4): 9 / 16; outputs (1) against (2): 1 / 4. 2 * 9/16 + 1/4."""

    class Teacher:
        def features(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"camera": torch.tensor([0.0, 4.0])}

        def heads(self, features: Any) -> dict[str, torch.Tensor]:
            return {"heatmap": torch.tensor([2.0])}

    found = distillation(
        {"camera": torch.tensor([3.0, 4.0])}, {"heatmap": torch.tensor([1.0])}, Teacher(),  # type: ignore[arg-type]
        None, 2.0, 1.0,  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.item() == pytest.approx(2 * 9 / 16 + 1 / 4)


def test_wrong_options() -> None:
    for options in ({"ema": 1.0}, {"ema": -0.1}, {"distill_heads": -1.0}):
        with pytest.raises(ValueError, match="allowed"):
            FineTuneSpec(**options)  # type: ignore[arg-type]
