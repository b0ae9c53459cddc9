"""Fisher pruning worked out by hand."""

from __future__ import annotations

import torch
from torch import nn

from sparsefront.pruning.criteria import Fisher
from tests.helpers.one_layer import scores


def test_fisher_by_hand() -> None:
    """y = w1 x1 + w2 x2, w = (2, -1), L = y: gradients are the inputs (1, 3) and (2, -1), g w is
    (2, -3) and (4, 1), half the mean of the squares (4 + 16) / 4 and (9 + 1) / 4.
    """
    layer = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0]]))
    batches = [torch.tensor([[1.0, 3.0]]).double(), torch.tensor([[2.0, -1.0]]).double()]
    assert scores(Fisher(), layer, batches, lambda m, b: m(b).sum()).tolist() == [[5.0, 2.5]]
