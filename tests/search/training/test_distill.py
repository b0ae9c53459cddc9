"""The distance to the dense model, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsefront.search.training.distill import distillation


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
