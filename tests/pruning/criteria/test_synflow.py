"""SynFlow worked out by hand, and what it promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsefront.pruning.criteria import SynFlow
from sparsefront.pruning.criteria.synflow import _fit_dtypes
from tests.helpers.one_layer import GROUPS, linear, scores


def test_synflow_by_hand() -> None:
    """One layer: R = sum |W| 1, so every score is |w|. Two of weight 1e30 in float32: R = 1e60,
    more than float32 holds, so both scores are over the largest, 1.
    """
    found = scores(
        SynFlow(num_iterations=1), linear([1.0, -2.0], [3.0, 4.0]), [torch.ones(1, 2)], None
    )
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    deep = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        for weight in deep.parameters():
            weight.fill_(1e30)
    found = SynFlow(num_iterations=1).scores(deep, GROUPS, [torch.ones(1, 1)], None).by_weight  # type: ignore[arg-type, assignment]
    assert [score.item() for score in found.values()] == [1.0, 1.0]  # type: ignore[attr-defined]


def test_synflow_keeps_its_order_beyond_float32() -> None:
    """1e60, 1 and 1e-60 fit float32 to the power 76 / 120 or so: still three sizes, none 0."""
    wide = {"w": torch.tensor([1e60, 1.0, 1e-60], dtype=torch.float64)}
    found = _fit_dtypes(wide, {"w": torch.float32})["w"].float()
    assert found[0] == 1.0
    assert found[0] > found[1] > found[2] > 0
    assert _fit_dtypes(wide, {"w": torch.float64}) is wide


def test_synflow_conserves_flow() -> None:
    """Without biases the scores of each layer sum to the same R (Tanaka et al., theorem 1)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU(),
        nn.Linear(8, 3, bias=False),
    ).double()  # fmt: skip
    found = SynFlow(num_iterations=1).scores(model, GROUPS, [torch.zeros(2, 4)], None).by_weight  # type: ignore[arg-type]
    sums = [float(s.sum()) for s in found.values()]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_synflow_never_empties_a_layer() -> None:
    """100 iterations to 99 % keep a path through every layer; a single shot would not."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 2)
    )
    criterion = SynFlow(num_iterations=100, sparsity=0.99)
    found = criterion.scores(model, GROUPS, [torch.zeros(1, 30)], None).by_weight  # type: ignore[arg-type]
    alive = [int((s > 0).sum()) for s in found.values()]
    assert min(alive) > 0
    assert found["0.weight"].dtype == torch.float32
    total = sum(s.numel() for s in found.values())
    assert sum(alive) <= round(0.01 ** (99 / 100) * total)
