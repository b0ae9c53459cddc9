"""ProsPr on one-weight losses, worked out in the docstrings."""

from __future__ import annotations

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.pruning.criteria import ProsPr
from tests.helpers.one_layer import linear, quadratic, scores


def test_prospr_equals_the_closed_form() -> None:
    """L = a w^2 / 2, w_t+1 = (1 - lr a) w_t, so w_T = r^T w_0 with r = 1 - lr a, and
    dL(w_T)/dw_0 = a r^(2T) w_0. a = 2, w_0 = 3, lr = 0.1, T = 3: r = 0.8;
    second order |w_0 a r^6 w_0| = 18 * 0.262144, first order |w_0 a r^3 w_0| = 18 * 0.512.
    """
    a = torch.tensor([[2.0]]).double()
    second = scores(ProsPr(num_steps=3, lr=0.1), linear([3.0]), [a], quadratic)
    first = scores(ProsPr(num_steps=3, lr=0.1, second_order=False), linear([3.0]), [a], quadratic)
    assert second.item() == pytest.approx(18 * 0.8**6, abs=1e-12)
    assert first.item() == pytest.approx(18 * 0.8**3, abs=1e-12)


def test_prospr_differentiates_momentum_and_reads_new_data() -> None:
    """Heavy ball on a = 1, w_0 = 1, lr = 0.5, momentum 0.5, two steps: v1 = 1, w1 = 0.5;
    v2 = 0.5 + 0.5 = 1, w2 = 0; w2 = (1 - 0.5 - 0.5 (0.5 + 0.5)) w_0 = 0, so the score is 0.
    New data, one step with a = 1 (w1 = 0.5 w_0), loss with a = 4: |w_0 * 4 * 0.5 * 0.5 w_0| = 1.
    """
    one, four = torch.ones(1, 1).double(), torch.full((1, 1), 4.0).double()
    ball = ProsPr(num_steps=2, lr=0.5, momentum=0.5)
    with pytest.raises(InputError, match="criterion prospr: every score of all"):
        scores(ball, linear([1.0]), [one], quadratic)
    fresh = ProsPr(num_steps=1, lr=0.5, new_data=True)
    assert scores(fresh, linear([1.0]), [one, four], quadratic).item() == pytest.approx(1.0)
    with pytest.raises(InputError, match="at least 2"):
        scores(fresh, linear([1.0]), [one], quadratic)


def test_prospr_structured_sums_over_filters() -> None:
    """T = 0 is |w g| of a filter's sum: w = (1, -2), g = A w = (1, -2) with A = 1: |1 + 4| = 5."""
    found = scores(
        ProsPr(num_steps=0, structured=True),
        linear([1.0, -2.0]),
        [torch.eye(2).double()],
        quadratic,
    )
    assert found.tolist() == [[5.0, 5.0]]
