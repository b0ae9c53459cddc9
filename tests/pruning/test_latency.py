"""Latency: what is reported, and what is refused; never how long anything took."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.latency import latency


def test_latency_counts_passes_and_names_the_device() -> None:
    model = nn.Linear(2, 2).train()
    calls: list[int] = []

    def forward(model: nn.Module, batch: int) -> None:
        assert not model.training
        assert not torch.is_grad_enabled()
        calls.append(batch)

    found = latency(model, [10, 20], forward, repeats=4, warmup=1)
    assert calls == [10, 20, 10, 20, 10]
    assert 0 <= found.quartile1_ms <= found.median_ms <= found.quartile3_ms
    assert "threads" in found.device
    assert found.device in str(found)
    assert model.training


def test_too_few_batches_or_repeats_raise() -> None:
    for batches, repeats in (([], 4), ([1], 1)):
        with pytest.raises(InputError, match="allowed"):
            latency(nn.Linear(1, 1), batches, lambda m, b: None, repeats=repeats)
