"""The fronts of several sweeps on the same axes."""

from __future__ import annotations

from typing import Any

from sparsefront.search.reports.charts import on_page, on_paper
from sparsefront.search.reports.charts.front_pairs import (
    Pair,
    best_of_pair,
    constraint_regions,
    pairs,
)
from sparsefront.search.reports.charts.hover import hover
from sparsefront.search.reports.charts.hypervolume import progress, time_unit
from sparsefront.search.reports.charts.panel import Axis, Panel, Series
from sparsefront.search.reports.charts.style import HUES, SYMBOLS, axis_of
from sparsefront.search.reports.overlay import Overlay

HEADING = "The fronts over one another"
READING = (
    "Points are each sweep's front; the stepped lines are the best of the panel's two objectives. "
    "A line above and to the left of another one is better where the horizontal axis is a cost."
)
PROGRESS_HEADING = "How fast each one got there"
PROGRESS_READING = (
    "Each sweep's own hypervolume over the time of its trials, added up over all workers. Compare "
    "the ends by the table: there, all sweeps have one reference."
)


def pages(found: Overlay) -> list[Any]:
    return on_page.figures(panels(found))


def picture(found: Overlay) -> Any:
    volumes = ", ".join(
        f"{view.name} {volume:.3f}"
        for view, volume in zip(found.views, found.hypervolumes, strict=True)
    )
    return on_paper.picture_of(panels(found), f"Hypervolume on one reference: {volumes}")


def panels(found: Overlay) -> list[Panel]:
    return [_panel(found, pair) for pair in pairs(found.views[0])]


def progress_panel(found: Overlay) -> Panel:
    """Hypervolume over compute of all sweeps."""
    curves = [progress(view) for view in found.views]
    factor, unit = time_unit(max((s for c in curves for s in c.seconds), default=0.0))
    series = tuple(
        Series(
            name=view.name, x=[0.0, *(s * factor for s in curve.seconds)],
            y=[0.0, *curve.hypervolume], colour=_colour(at), draw="over_up", dash=at % 2 == 1,
        )
        for at, (view, curve) in enumerate(zip(found.views, curves, strict=True))
    )  # fmt: skip
    return Panel(
        title="Hypervolume over compute", x=Axis(text=f"time of all trials, {unit}"),
        y=Axis(text="hypervolume, higher is better"), series=series,
    )  # fmt: skip


def _panel(found: Overlay, pair: Pair) -> Panel:
    x, y = pair
    series: list[Series] = []
    for at, view in enumerate(found.views):
        best = best_of_pair([*view.front.points, *view.dominated()], pair)
        points = view.front.points
        series += [
            Series(
                name=view.name, colour=_colour(at), in_legend=False, dash=at % 2 == 1,
                draw="over_up" if x.direction == "min" else "up_over",
                x=[x.function(t.result) for t in best], y=[y.function(t.result) for t in best],
            ),
            Series(
                name=view.name, colour=_colour(at), symbol=SYMBOLS[at % len(SYMBOLS)],
                x=[x.function(t.result) for t in points], y=[y.function(t.result) for t in points],
                hover=[f"<b>{view.name}</b><br>{hover(view, t)}" for t in points],
            ),
        ]  # fmt: skip
    regions = {r for view in found.views for r in constraint_regions(view, pair)}
    return Panel(
        title=f"{y.name} against {x.name}", x=Axis(text=axis_of(x)), y=Axis(text=axis_of(y)),
        series=tuple(series), regions=tuple(sorted(regions, key=lambda r: r.name)),
    )  # fmt: skip


def _colour(at: int) -> str:
    return HUES[at % len(HUES)]
