"""GraSP worked out by hand."""

from __future__ import annotations

import torch

from sparsefront.pruning.criteria import GraSP
from tests.helpers.one_layer import linear, quadratic, scores


def test_grasp_by_hand() -> None:
    """A = [[2, 1], [1, 3]], w = (1, -1): g = (1, -2), H g = A g = (0, -5); w (H g) = (0, 5)."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    assert scores(GraSP(), linear([1.0, -1.0]), [a], quadratic).tolist() == [[0.0, 5.0]]
