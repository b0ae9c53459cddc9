"""What the charts say of points small enough to check by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.config.objectives import Bound
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.reports.charts import CHARTS
from sparsefront.search.reports.charts.files import save_picture
from sparsefront.search.reports.charts.front_pairs import (
    best_of_pair,
    constraint_regions,
    pairs,
    panels,
)
from sparsefront.search.reports.charts.heat_map import allocations, stage_sparsity
from sparsefront.search.reports.charts.hypervolume import progress
from sparsefront.search.reports.charts.importance import importances
from sparsefront.search.reports.charts.modality_quality import heading_of
from sparsefront.search.reports.charts.modality_quality import panels as modality_panels
from sparsefront.search.reports.charts.parallel import dimensions
from sparsefront.search.reports.sweep_view import SweepView
from tests.helpers.synthetic_sweep import CAMERA, LIDAR, synthetic_result


def test_every_pair_has_a_panel_with_costs_first(view: SweepView) -> None:
    found = [(x.name, y.name) for x, y in pairs(view)]
    assert found == [("GFLOPs", "mAP"), ("GFLOPs", "NDS"), ("mAP", "NDS")]


def test_best_of_a_pair_is_the_front_of_these_two_objectives(view: SweepView) -> None:
    """Trial 3 is on the front of all three, but only NDS shows why; by the cost, ascending."""
    assert [p.trial_id for p in view.front.points] == [0, 3, 1, 5, 4, 6]
    best = [[t.trial_id for t in best_of_pair(view.trials, pair)] for pair in pairs(view)]
    assert best == [[6, 4, 5, 1, 0], [6, 4, 5, 1, 3], [3, 0]]


def test_panel_holds_front_dominated_and_knee(view: SweepView) -> None:
    first = panels(view)[0]
    by_name = {series.name: series for series in first.series}
    assert list(by_name["dominated"].x) == [6.0] and list(by_name["dominated"].y) == [0.6]
    assert len(by_name["front"].x) == 6
    knee = view.front.knee()
    assert list(by_name["knee"].y) == [knee.result.metrics["mAP"]]
    assert first.lines[0].x == 10.0
    assert "camera: 0.5" in by_name["front"].hover[2]


def test_dense_model_is_a_point(view: SweepView) -> None:
    """Where both objectives of the panel were measured."""
    assert "dense model" not in {series.name for series in panels(view)[0].series}
    dense = synthetic_result(0.9, 10.0, 0.8)
    shown = panels(replace(view, front=replace(view.front, dense=dense)))
    for panel in shown:
        (point,) = [series for series in panel.series if series.name == "dense model"]
        assert list(point.x) != list(point.y) and len(point.x) == 1
    assert "mAP 0.9000" in point.hover[0] and "NDS 0.8000" in point.hover[0]


def test_lone_objective_is_shown_against_the_cost(view_of: Any, sweep: Sweep) -> None:
    for name, wanted in (("mAP", ("GFLOPs", "mAP")), ("GFLOPs", ("GFLOPs", "mAP"))):
        view = view_of([(0.8, 9.0, 0.5)], of=replace(sweep, objectives=[name]))
        assert [(x.name, y.name) for x, y in pairs(view)] == [wanted]


def test_constraints_are_shaded_where_they_are_broken(view_of: Any, sweep: Sweep) -> None:
    bounded = replace(sweep, constraints={"mAP": Bound(min=0.3), "GFLOPs": Bound(max=8.0)})
    view = view_of([(0.8, 9.0, 0.5), (0.7, 5.0, 0.5)], of=bounded)
    found = {
        region.name: (region.x, region.y) for region in constraint_regions(view, pairs(view)[0])
    }
    assert found == {
        "not allowed: mAP below 0.3": ((None, None), (None, 0.3)),
        "not allowed: GFLOPs above 8": ((8.0, None), (None, None)),
    }
    assert [t.trial_id for t in view.infeasible()] == [0]


def test_hypervolume_by_hand(view_of: Any, sweep: Sweep) -> None:
    """In gains (mAP, 1 - GFLOPs / 10): 0.8 * 0.1, then with (0.7, 0.5) in all 0.08 + 0.7 * 0.4;
    a failed trial takes time and adds nothing.
    """
    two = replace(sweep, objectives=["mAP", "GFLOPs"])
    points = [(0.8, 9.0, 0.5), (0.7, 5.0, 0.5)]
    first, last = (TrialEnd.finished(n, synthetic_result(*p)) for n, p in enumerate(points))
    ends = (first, replace(TrialEnd.failed(2, "broken"), seconds=4.0), last)
    view = view_of(points, of=two, ends=ends)
    found = progress(view)
    assert found.hypervolume == pytest.approx((0.08, 0.08, 0.36))
    assert found.seconds == (10.0, 14.0, 24.0) and found.cpu_s == (5.0, 5.0, 10.0)
    assert found.hypervolume[-1] == pytest.approx(view.front.hypervolume)
    assert (found.trials_to(0.2), found.trials_to(0.95)) == (1, 3)


def test_sparsity_of_stages_is_weighted_by_size(view: SweepView) -> None:
    """Backbone: (0.5 * 100 + 1.0 * 300) / 400."""
    found = stage_sparsity(view.trials[0])
    assert found == {"camera.backbone": 0.875, "camera.neck": 0.25, "lidar.encoder": 0.75}
    rows = allocations(view)
    assert [row.split(":")[0] for row in rows.rows] == ["0", "3", "1", "5", "4", "6"]
    assert rows.percent[0] == (87.5, 25.0, 75.0)


def test_importance_finds_the_field_that_matters(view_of: Any, sweep: Sweep) -> None:
    """The cost is the camera's sparsity, the quality the LiDAR's."""
    grid = [(c / 5, lidar / 5) for c in range(5) for lidar in range(5)]
    points = [(0.9 - lidar, 10 * (1 - c), 0.5) for c, lidar in grid]
    values = {n: {CAMERA: c, LIDAR: lidar} for n, (c, lidar) in enumerate(grid)}
    view = view_of(points, of=replace(sweep, objectives=["mAP", "GFLOPs"]), values=values)
    quality, cost = importances(view)
    assert quality.objective == "mAP" and quality.shares[LIDAR] > 0.9 > quality.shares[CAMERA]
    assert cost.objective == "GFLOPs" and cost.shares[CAMERA] > 0.9 > cost.shares[LIDAR]


def test_importance_of_too_few_trials_is_not_shown(view_of: Any) -> None:
    assert importances(view_of([(0.8, 9.0, 0.5), (0.7, 5.0, 0.5)])) == []


def test_heading_says_how_much_may_go_at_95_percent_of_the_best_quality(view: SweepView) -> None:
    """Trial 0 has the best mAP, and no other has 95 % of it."""
    assert heading_of(view) == "95 % of the best mAP is left with camera 10 %, lidar 20 % removed"
    camera = modality_panels(view)[0]
    assert sorted(camera.series[1].x) == pytest.approx([10.0, 40.0, 50.0, 55.0, 90.0, 91.0])


def test_parallel_axes_run_from_lowest_to_highest(view: SweepView) -> None:
    camera, lidar, mAP, _, GFLOPs = dimensions(view)
    assert (camera.name, lidar.name, mAP.name) == ("camera", "lidar", "mAP")
    assert camera.places[1] == pytest.approx(0.5 / 0.9)
    assert (mAP.places[0], mAP.places[6]) == (1.0, 0.0)
    assert GFLOPs.ticks == ((0.0, "0.9"), (1.0, "9"))


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_each_chart_is_drawn_as_page_and_picture(
    chart: Any, view: SweepView, tmp_path: Path
) -> None:
    assert chart.pages(view)
    save_picture(chart.picture(view), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.glob("*.png*")] == ["x.png"]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_each_chart_bears_a_single_point_and_none(chart: Any, view_of: Any, sweep: Sweep) -> None:
    bounded = replace(sweep, constraints={"mAP": Bound(min=0.9)})
    for view in (view_of([(0.8, 9.0, 0.5)]), view_of([(0.8, 9.0, 0.5)], of=bounded)):
        chart.pages(view)
        chart.picture(view)
