"""The Pareto front, one panel for every pair of objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import moocore
import numpy as np

from sparsefront.search.config.metric_names import quality
from sparsefront.search.config.objectives import OBJECTIVES, Objective
from sparsefront.search.reports.charts import on_page, on_paper
from sparsefront.search.reports.charts.hover import hover
from sparsefront.search.reports.charts.panel import Axis, Line, Panel, Region, Series
from sparsefront.search.reports.charts.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    axis_of,
)
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import format_value
from sparsefront.search.runs.trial_reader import StoredTrial

NAME, HEADING = "front", "The Pareto front"
READING = (
    "Each panel shows two objectives. Filled points are the sweep's front: no other trial is at "
    "least as good in every objective. The stepped line is the best that was found of the two "
    "objectives of the panel alone, so a filled point below it is on the front for a third one. "
    "The ring is the knee, the point closest to the best of everything. The star is the dense "
    "model, before any pruning. Shaded: a constraint is "
    "broken there."
)
BASELINES = {
    "uniform": ("diamond", GREEN),
    "ERK": ("triangle-up", SKY),
    "papers": ("square", PURPLE),
}
DENSE = {
    "GFLOPs": ("GMACs_dense", 2.0), "nonzeros": ("parameters_dense", 1.0),
    "parameters": ("parameters_dense", 1.0), "bytes": ("bytes_dense", 1.0),
    "latency_ms": ("latency_ms_dense", 1.0),
}  # fmt: skip
"""Cost -> the metric with the dense model's, and its factor."""

Pair = tuple[Objective, Objective]


def pages(view: SweepView) -> list[Any]:
    return on_page.figures(panels(view))


def picture(view: SweepView) -> Any:
    return on_paper.picture_of(panels(view), title(view))


def small_picture(view: SweepView) -> Any:
    """The first pair alone, small enough for the column of MLflow's page: 600 x 340 points."""
    panel = panels(view)[0]
    figure = on_paper.blank(6.0, 3.4, dpi=100)
    axis = figure.subplots()
    on_paper.draw(axis, replace(panel, title=""))
    on_paper.shared_legend(figure, [axis])
    return figure


def title(view: SweepView) -> str:
    """What one sees: how many trials are on the front, and the hypervolume."""
    found = len(view.front.points)
    return (
        f"{view.name}: {found} of {len(view.trials)} trials on the Pareto front, "
        f"hypervolume {view.front.hypervolume:.3f}"
    )


def panels(view: SweepView) -> list[Panel]:
    return [_panel(view, pair) for pair in pairs(view)]


def pairs(view: SweepView) -> list[Pair]:
    """(x, y) of every pair, a cost on x; those with a cost come first. A lone objective is shown
    against the GFLOPs, which every trial has.
    """
    objectives = list(view.front.objectives)
    if len(objectives) == 1:
        objectives.append(_partner(view, objectives[0]))
    found = [(b, a) if b.direction == "min" else (a, b) for a, b in combinations(objectives, 2)]
    return sorted(found, key=lambda pair: pair[0].direction == pair[1].direction)


def best_of_pair(trials: Sequence[StoredTrial], pair: Pair) -> list[StoredTrial]:
    """Trials that no other beats in these two objectives, by the first one."""
    if not trials:
        return []
    signs = [1.0 if o.direction == "min" else -1.0 for o in pair]
    losses = [[s * o.function(t.result) for o, s in zip(pair, signs, strict=True)] for t in trials]
    best = moocore.is_nondominated(np.array(losses), keep_weakly=True)
    kept = [t for t, on_front in zip(trials, best, strict=True) if on_front]
    return sorted(kept, key=lambda t: (pair[0].function(t.result), t.trial_id))


def constraint_regions(view: SweepView, pair: Pair) -> tuple[Region, ...]:
    """Where a constraint on one of the two is broken."""
    found = []
    for name, bound in view.constraints.items():
        for along, objective in zip(("x", "y"), pair, strict=True):
            if objective.name != name:
                continue
            if bound.max is not None:
                found.append(_region(along, f"{name} above {bound.max:g}", (bound.max, None)))
            if bound.min is not None:
                found.append(_region(along, f"{name} below {bound.min:g}", (None, bound.min)))
    return tuple(found)


def _region(along: str, name: str, ends: tuple[float | None, float | None]) -> Region:
    label = f"not allowed: {name}"
    return Region(name=label, x=ends) if along == "x" else Region(name=label, y=ends)


def _panel(view: SweepView, pair: Pair) -> Panel:
    x, y = pair
    feasible = [*view.front.points, *view.dominated()]
    best = best_of_pair(feasible, pair)
    series = [
        _points(view, pair, view.dominated(), "dominated", GREY, "circle-open", faint=True),
        _points(view, pair, view.infeasible(), "breaks a constraint", GREY, "x-thin", faint=True),
        Series(
            name=f"best of {x.name} and {y.name}", colour=BLUE, in_legend=False,
            x=[x.function(t.result) for t in best], y=[y.function(t.result) for t in best],
            draw="over_up" if x.direction == "min" else "up_over",
        ),
        _points(view, pair, view.front.points, "front", BLUE, labels=True),
        *(_baseline(view, pair, label) for label in dict.fromkeys(view.baselines.values())),
    ]  # fmt: skip
    ringed = view.ringed()
    series.append(_dense_point(view, pair))
    if ringed is not None:
        name = "knee" if view.marked is None else f"trial {ringed.trial_id}"
        series.append(_points(view, pair, [ringed], name, ORANGE, draw="ring"))
    return Panel(
        title=f"{y.name} against {x.name}", x=Axis(text=axis_of(x)), y=Axis(text=axis_of(y)),
        series=tuple(s for s in series if len(s.x)), regions=constraint_regions(view, pair),
        lines=_dense(view, x),
    )  # fmt: skip


def _points(
    view: SweepView, pair: Pair, trials: Sequence[StoredTrial], name: str, colour: str,
    symbol: str = "circle", *, faint: bool = False, labels: bool = False, draw: Any = "points",
) -> Series:  # fmt: skip
    x, y = pair
    return Series(
        name=name, colour=colour, symbol=symbol, faint=faint, draw=draw,
        x=[x.function(t.result) for t in trials], y=[y.function(t.result) for t in trials],
        hover=[hover(view, t) for t in trials],
        labels=[str(t.trial_id) for t in trials] if labels and len(trials) <= 30 else (),
    )  # fmt: skip


def _baseline(view: SweepView, pair: Pair, label: str) -> Series:
    trials = [t for t in view.trials if view.baselines.get(t.trial_id) == label]
    symbol, colour = BASELINES.get(label, ("cross", GREEN))
    return _points(view, pair, trials, f"baseline: {label}", colour, symbol)


def _dense_point(view: SweepView, pair: Pair) -> Series:
    """The dense model, where both were measured."""
    x, y = pair
    dense = view.front.dense
    known = dense is not None and x.name in dense.metrics and y.name in dense.metrics
    at = [dense] if known and dense is not None else []
    values = ", ".join(f"{o.name} {format_value(o.function(d))}" for d in at for o in pair)
    return Series(
        name="dense model", colour=INK, symbol="star", size=11,
        x=[x.function(d) for d in at], y=[y.function(d) for d in at],
        hover=[f"<b>dense model</b><br>{values}" for _ in at],
    )  # fmt: skip


def _dense(view: SweepView, x: Objective) -> tuple[Line, ...]:
    """The dense model's cost, where it is known and the same for all."""
    if x.name not in DENSE:
        return ()
    metric, factor = DENSE[x.name]
    known = {factor * t.result.metrics[metric] for t in view.trials if metric in t.result.metrics}
    return (Line(name="dense cost", x=known.pop()),) if len(known) == 1 else ()


def _partner(view: SweepView, lone: Objective) -> Objective:
    """What a lone objective is shown against."""
    if lone.name != "GFLOPs":
        return OBJECTIVES["GFLOPs"]
    names = quality(view.trials[0].result.metrics) if view.trials else []
    known = view.front.known
    return next((known[name] for name in names if name in known), OBJECTIVES["nonzeros"])
