"""Sweeps over one another: one reference for all, volumes and differences by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports.charts import fronts_overlaid
from sparsefront.search.reports.overlay import overlay, text_table, to_dict
from sparsefront.search.reports.terminal import scatter


@pytest.fixture
def two(sweep: Sweep) -> Sweep:
    return replace(sweep, objectives=["mAP", "GFLOPs"])


def test_volumes_by_hand(view_of: Any, two: Sweep) -> None:
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


def test_one_reference_where_dense_models_differ(view_of: Any, two: Sweep) -> None:
    """The larger dense model has 20 GFLOPs, so 5 GFLOPs gain 0.75 in both sweeps."""
    one = view_of([(0.7, 5.0, 0.5)], name="one", of=two)
    other = view_of([(0.7, 5.0, 0.5)], name="other", of=two)
    other.front.points[0].result.metrics["GMACs_dense"] = 10.0
    assert overlay([one, other]).hypervolumes == pytest.approx((0.525, 0.525))


def test_a_mark_a_sweep_in_every_panel(view_of: Any) -> None:
    views = [view_of([(0.7, 5.0, 0.5), (0.2, 1.0, 0.2)], name=name) for name in ("one", "other")]
    for panel in fronts_overlaid.panels(overlay(views)):
        marks = {s.symbol for s in panel.series if s.draw == "points"}
        assert len(marks) == 2
        assert {s.name for s in panel.series} == {"one", "other"}


def test_what_cannot_be_compared(view_of: Any, two: Sweep) -> None:
    one, other = view_of([(0.7, 5.0, 0.5)], name="one"), view_of([(0.7, 5.0, 0.5)], of=two)
    with pytest.raises(ValueError, match="'made' has objectives mAP, GFLOPs, 'one' has mAP, NDS"):
        overlay([one, other])
    with pytest.raises(ValueError, match="named twice"):
        overlay([one, one])
    with pytest.raises(ValueError, match="no finished trial yet"):
        overlay([one, view_of([], name="empty")])


def test_scatter_of_characters(view_of: Any, two: Sweep) -> None:
    """Corners: the best on top right, the cheapest at the bottom left."""
    view = view_of([(0.8, 9.0, 0.5), (0.7, 5.0, 0.5), (0.2, 1.0, 0.5)], of=two)
    lines = scatter([view], width=21, height=4).splitlines()
    assert lines[1] == "  0.8000 |                    o"
    assert lines[2].rstrip().endswith("K") and lines[2].index("K") == 20
    assert lines[4] == "  0.2000 |o"
