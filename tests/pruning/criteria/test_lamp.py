"""LAMP worked out by hand."""

from __future__ import annotations

from sparsefront.pruning.criteria import LAMP
from tests.helpers.one_layer import linear, scores


def test_lamp_by_hand() -> None:
    """Squares 1, 9, 4: 9/9; 4/(9 + 4); 1/(9 + 4 + 1). Of equal weights the first scores higher."""
    found = scores(LAMP(), linear([1.0, -3.0, 2.0]), [], None)
    assert found.tolist() == [[1 / 14, 1.0, 4 / 13]]
    assert scores(LAMP(), linear([2.0, 2.0]), [], None).tolist() == [[1.0, 0.5]]
