"""LayerNorms of fewer channels."""

from __future__ import annotations

import pytest
import torch

from sparsefront.pruning.channels.norms import WideLayerNorm


def test_wide_layer_norm_divides_by_the_old_width() -> None:
    """x = (3, 1) of width 4 is (3, 1, 0, 0): mean 1, variance (9 + 1) / 4 - 1 = 1.5."""
    wide = WideLayerNorm(torch.ones(2).double(), torch.zeros(2).double(), 4, 0.0)
    out = wide(torch.tensor([[3.0, 1.0]]).double())
    assert out.tolist()[0] == pytest.approx([2 / 1.5**0.5, 0.0])
