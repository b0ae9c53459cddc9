"""The moving average of a model's weights, by hand."""

from __future__ import annotations

import pytest
from torch import nn

from sparsefront.search.training.moving_average import MovingAverage


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
