"""The distance to the dense model, by hand."""

from __future__ import annotations

import pytest
import torch

from sparsefront.search.training.distill import distillation


def test_distillation_by_hand() -> None:
    """Features (3, 4) against (0, 4): 9 / 16; outputs (1) against (2): 1 / 4. 2 * 9/16 + 1/4."""
    student = {"camera": torch.tensor([3.0, 4.0])}, {"heatmap": torch.tensor([1.0])}
    teacher = {"camera": torch.tensor([0.0, 4.0])}, {"heatmap": torch.tensor([2.0])}
    found = distillation(student, teacher, 2.0, 1.0)
    assert found.item() == pytest.approx(2 * 9 / 16 + 1 / 4)
