"""N:M groups of an export are counted."""

from __future__ import annotations

import pytest

from sparsefront.search.cli.measure import load_model
from sparsefront.search.exports.nm_groups import check_nm_groups


def test_groups_of_two_of_four_are_counted_and_others_refused() -> None:
    model, _ = load_model("bevfusion-small", None)
    name = "camera.neck.smooth.0.weight"
    weight = dict(model.named_parameters())[name].detach().clone()
    weight.view(weight.shape[0], -1, 4, *weight.shape[2:])[:, :, :2] = 0
    found = check_nm_groups(model, {name: weight}, {name: 0.5, "other": 0.0}, "2:4")
    assert found["groups"] == {name: weight.numel() // 4}
    weight[0, 0] = 1
    with pytest.raises(AssertionError, match="3 of 4"):
        check_nm_groups(model, {name: weight}, {name: 0.5}, "2:4")
