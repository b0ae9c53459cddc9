"""Parallel coordinates: every trial a line across the searched fields and the objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparsefront.search.config.space import Range
from sparsefront.search.reports.charts import on_page, on_paper
from sparsefront.search.reports.charts.hover import hover, text_of
from sparsefront.search.reports.charts.panel import Axis, Panel, Series
from sparsefront.search.reports.charts.style import (
    DENSE_TO_SPARSE,
    GREY,
    ORANGE,
    mixed,
    short_names,
)
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.trial_reader import StoredTrial

NAME, HEADING = "parallel", "Parallel coordinates: searched fields and objectives"
READING = (
    "One line a trial, from field to field on the left to the objectives on the right; each axis "
    "runs from the lowest value (bottom) to the highest. Coloured lines are the front, from costly "
    "(blue) to cheap (orange); grey ones are not on it. Lines that run together say that the front "
    "agrees on a field."
)
MOST_GREY = 300


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """An axis: a trial's place on it in 0..1, what stands at its ends or choices."""

    name: str
    places: tuple[float | None, ...]
    ticks: tuple[tuple[float, str], ...]


def dimensions(view: SweepView) -> list[Dimension]:
    """Of the searched fields, then of the objectives; places in the order of view.trials."""
    trials = view.trials
    fields = {} if view.sweep is None else view.sweep.space
    short = short_names(fields)
    found = []
    for name, dimension in fields.items():
        values = [view.values.get(t.trial_id, {}).get(name) for t in trials]
        ends = (dimension.low, dimension.high) if isinstance(dimension, Range) else None
        found.append(_dimension(short[name], values, ends))
    for objective in view.front.objectives:
        measured = [objective.function(t.result) for t in trials]
        found.append(_dimension(objective.name, measured, None))
    return found


def pages(view: SweepView) -> list[Any]:
    figure = on_page.figure_of(panel(view))
    for place, text, at in _end_texts(view):
        figure.add_annotation(
            x=place, y=at, text=text, showarrow=False, xanchor="left", yshift=9 if at else -9,
            xshift=3,
        )  # fmt: skip
    figure.update_layout(
        height=440, margin={"t": 16, "b": 86}, meta={"wide": 95 * len(dimensions(view)) + 60}
    )
    return [figure]


def picture(view: SweepView) -> Any:
    drawn = panel(view)
    figure = on_paper.blank(max(9.0, 1.15 * len(dimensions(view)) + 1.5), 4.9)
    axis = figure.subplots()
    on_paper.draw(axis, drawn)
    on_paper.shared_legend(figure, [axis])
    for place, text, at in _end_texts(view):
        axis.annotate(
            text, (place, at), (3, 3 if at else -11), textcoords="offset points", fontsize=8,
            bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.5},
        )  # fmt: skip
    figure.suptitle(f"{view.name}: what the front agrees on, field by field", fontsize=14)
    axis.set_title("")
    return figure


def panel(view: SweepView) -> Panel:
    """Lines over axes of one height."""
    axes = dimensions(view)
    trials, on_front = view.trials, {p.trial_id: at for at, p in enumerate(view.front.points)}
    grey = [at for at, t in enumerate(trials) if t.trial_id not in on_front][-MOST_GREY:]
    series = [_grey(axes, grey)] if grey else []
    last = max(1, len(on_front) - 1)
    for at, trial in enumerate(trials):
        if trial.trial_id in on_front:
            colour = mixed(DENSE_TO_SPARSE, on_front[trial.trial_id] / last)
            series.append(_line(axes, at, view, trial, colour))
    ringed = view.ringed()
    if ringed is not None:
        at = next(i for i, t in enumerate(trials) if t.trial_id == ringed.trial_id)
        series.append(_knee(axes, at))
    ticks = tuple((float(at), axis.name.replace(".", "\n")) for at, axis in enumerate(axes))
    return Panel(
        title="", x=Axis(text="", limits=(-0.3, len(axes) - 0.4), ticks=ticks),
        y=Axis(text="lowest to highest", limits=(-0.08, 1.1), ticks=((0.0, "low"), (1.0, "high"))),
        series=tuple(series),
    )  # fmt: skip


def _dimension(name: str, values: Sequence[Any], ends: tuple[float, float] | None) -> Dimension:
    """Numbers by their value, anything else by its place among the choices."""
    known = [value for value in values if value is not None]
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)
    if not numbers:
        choices = list(dict.fromkeys(map(text_of, known)))
        last = max(1, len(choices) - 1)
        place = {choice: at / last for at, choice in enumerate(choices)}
        return Dimension(
            name=name, ticks=tuple((at, choice) for choice, at in place.items()),
            places=tuple(None if v is None else place[text_of(v)] for v in values),
        )  # fmt: skip
    low, high = ends or (min(known, default=0.0), max(known, default=1.0))
    span = (high - low) or 1.0
    return Dimension(
        name=name, ticks=((0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")),
        places=tuple(None if v is None else (v - low) / span for v in values),
    )  # fmt: skip


def _line(
    axes: list[Dimension], at: int, view: SweepView, trial: StoredTrial, colour: str
) -> Series:
    x, y = _path(axes, at)
    cost = trial.result.metrics["GFLOPs"]
    return Series(
        name=f"trial {trial.trial_id}, {cost:.3g} GFLOPs", x=x, y=y, colour=colour, draw="line",
        hover=[hover(view, trial)] * len(x), size=5.0, in_legend=False,
    )  # fmt: skip


def _grey(axes: list[Dimension], which: list[int]) -> Series:
    """All lines that are not on the front, as one with gaps."""
    x: list[float] = []
    y: list[float] = []
    for at in which:
        across, up = _path(axes, at)
        x += [*across, float("nan")]
        y += [*up, float("nan")]
    return Series(name="not on the front", x=x, y=y, colour=GREY, draw="line", faint=True)


def _knee(axes: list[Dimension], at: int) -> Series:
    x, y = _path(axes, at)
    return Series(name="knee", x=x, y=y, colour=ORANGE, draw="points", symbol="diamond", size=9.0)


def _path(axes: list[Dimension], at: int) -> tuple[list[float], list[float]]:
    known = [(n, axis.places[at]) for n, axis in enumerate(axes)]
    pairs = [(float(n), place) for n, place in known if place is not None]
    return [n for n, _ in pairs], [place for _, place in pairs]


def _end_texts(view: SweepView) -> list[tuple[float, str, float]]:
    """(axis, text, height) of what stands at the ends of each axis."""
    return [
        (float(at), text, place)
        for at, axis in enumerate(dimensions(view))
        for place, text in axis.ticks
    ]
