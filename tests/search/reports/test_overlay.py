"""Sweeps over one another: one reference for all, volumes and differences by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports.charts import fronts_overlaid
from sparsefront.search.reports.overlay import overlay, text_table, to_dict


@pytest.fixture
def two(sweep: Sweep) -> Sweep:
    return replace(sweep, objectives=["mAP", "GFLOPs"])


def test_hypervolumes_by_hand(view_of: Any, two: Sweep) -> None:
    """In gains: (0.7, 0.5) has 0.35; (0.7, 0.4) has 0.28 and (0.8, 0.1) adds 0.01; the first and
    the last are what nobody beats: 0.35 + 0.1 * 0.1.
    """
    one = view_of([(0.7, 5.0, 0.5)], name="one", of=two)
    other = view_of([(0.7, 6.0, 0.5), (0.8, 9.0, 0.5)], name="other", of=two)
    found = overlay([one, other])
    assert found.hypervolumes == pytest.approx((0.35, 0.29))
    assert found.together == pytest.approx(0.36)
    assert (found.alone(0), found.alone(1)) == (1, 1)
    assert "-0.0600 (-17.1 %)" in text_table(found)
    assert to_dict(found)["sweeps"][1]["difference_to_first"] == pytest.approx(-0.06)


def test_larger_dense_model_is_the_reference_of_all(view_of: Any, two: Sweep) -> None:
    """The larger dense model has 20 GFLOPs, so 5 GFLOPs gain 0.75 in both sweeps."""
    one = view_of([(0.7, 5.0, 0.5)], name="one", of=two)
    other = view_of([(0.7, 5.0, 0.5)], name="other", of=two)
    other.front.points[0].result.metrics["GMACs_dense"] = 10.0
    assert overlay([one, other]).hypervolumes == pytest.approx((0.525, 0.525))


def test_every_panel_has_a_mark_for_each_sweep(view_of: Any) -> None:
    views = [view_of([(0.7, 5.0, 0.5), (0.2, 1.0, 0.2)], name=name) for name in ("one", "other")]
    for panel in fronts_overlaid.panels(overlay(views)):
        marks = {s.symbol for s in panel.series if s.draw == "points"}
        assert len(marks) == 2
        assert {s.name for s in panel.series} == {"one", "other"}


def test_sweeps_that_cannot_be_compared_are_refused(view_of: Any, two: Sweep) -> None:
    one, other = view_of([(0.7, 5.0, 0.5)], name="one"), view_of([(0.7, 5.0, 0.5)], of=two)
    with pytest.raises(
        InputError, match="'synthetic' has objectives mAP, GFLOPs, 'one' has mAP, NDS"
    ):
        overlay([one, other])
    with pytest.raises(InputError, match="named twice"):
        overlay([one, one])
    with pytest.raises(InputError, match="no finished trial yet"):
        overlay([one, view_of([], name="empty")])
