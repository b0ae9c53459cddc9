"""Taylor importance worked out by hand."""

from __future__ import annotations

import torch
from torch import nn

from sparsefront.pruning.criteria import Taylor
from tests.helpers.one_layer import linear, scores


def test_taylor_by_hand() -> None:
    """L = sum of W x, x = (1, 2): g = (1, 2) in each row. W rows (1, 1), (2, -1):
    gate (1 + 2)^2 = 9 and (2 - 2)^2 = 0; independent 1 + 4 = 5 and 4 + 4 = 8.
    """
    x = torch.tensor([[1.0, 2.0]]).double()
    loss = lambda model, batch: model(batch).sum()  # noqa: E731
    layer = linear([1.0, 1.0], [2.0, -1.0])
    assert scores(Taylor(), layer, [x], loss).tolist() == [[9, 9], [0, 0]]
    assert scores(Taylor(form="independent"), layer, [x], loss).tolist() == [[5, 5], [8, 8]]


def test_taylor_filters_of_a_transposed_convolution() -> None:
    """Filters of a transposed convolution lie along axis 1."""
    layer = nn.ConvTranspose2d(2, 3, 2, bias=False).double()
    x = torch.randn(1, 2, 3, 3).double()
    found = scores(Taylor(), layer, [x], lambda m, b: m(b).square().sum())
    assert found.shape == (2, 3, 2, 2)
    for index in range(3):
        assert len(found[:, index].unique()) == 1
