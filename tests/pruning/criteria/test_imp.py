"""Iterative magnitude pruning worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sparsefront.pruning.criteria import IMP
from tests.helpers.one_layer import linear, scores


def test_imp_by_hand() -> None:
    """w = (1, 2, 3, 4), p = 1/2, 3/4 removed, no training: round 1 removes 1 and 2, which score
    |w| / 8; round 2 removes 3: 1 + 3/8; 4 stays: 2 + 4/8.
    """
    found = scores(IMP(rate=0.5, sparsity=0.75, steps=0), linear([1.0, 2.0, 3.0, 4.0]), [], None)
    assert found.tolist() == [[0.125, 0.25, 1.375, 2.5]]


def test_imp_trains_and_rewinds() -> None:
    """L = |w - a|^2 / 2, one SGD step of 1/2 moves w0 to (w0 + a) / 2. w0 = (1, 2, 3, 4) and
    a = (9, 6, 1, 0): round 1 sees (5, 4, 2, 2), of which 5 and 4 stay; the others score 2/10.
    Rewound and trained again the survivors are at (5, 4) once more (not at (7, 5)): 4 scores
    1 + 4/10, 5 scores 2.5.
    """
    a = torch.tensor([[9.0, 6.0, 1.0, 0.0]]).double()
    loss = lambda model, batch: (model.weight - batch).square().sum() / 2  # noqa: E731
    layer = linear([1.0, 2.0, 3.0, 4.0])
    imp = IMP(rate=0.5, sparsity=0.75, steps=1, lr=0.5, optimizer="sgd")
    assert scores(imp, layer, [a], loss).tolist()[0] == pytest.approx([2.5, 1.4, 0.2, 0.2])
    assert layer.weight.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    later = IMP(rate=0.5, sparsity=0.75, steps=1, lr=0.5, optimizer="sgd", rewind_steps=1)
    # the start is now (5, 4, 2, 2): trained (7, 5, 1.5, 1); survivors again (7, 5)
    assert scores(later, layer, [a], loss).tolist()[0] == pytest.approx(
        [2.5, 1 + 5 / 14, 1.5 / 14, 1 / 14]
    )


def test_imp_densities_fall_to_the_last_one() -> None:
    assert IMP(rate=0.2, sparsity=0.5).densities() == pytest.approx([0.8, 0.64, 0.512, 0.5])
    assert IMP(rate=0.9, sparsity=0.5).densities() == [0.5]
