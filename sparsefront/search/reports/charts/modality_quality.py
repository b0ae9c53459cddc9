"""How sparse each modality was in every trial, against the trial's quality."""

from __future__ import annotations

from typing import Any

from sparsefront.search.config.metric_names import quality
from sparsefront.search.config.objectives import Objective
from sparsefront.search.reports.charts import on_page, on_paper
from sparsefront.search.reports.charts.hover import hover
from sparsefront.search.reports.charts.panel import Axis, Panel, Series
from sparsefront.search.reports.charts.style import GREY, HUES, SYMBOLS, axis_of
from sparsefront.search.reports.sweep_view import SweepView

NAME, HEADING = "modalities", "Sparsity of each modality against quality"
READING = (
    "One point a trial, filled on the front. Where filled points stay high far to the right, this "
    "modality can give up most of its weights; where they fall early, it cannot. Other modalities "
    "change from point to point as well, so read the upper edge, not the mean."
)


def pages(view: SweepView) -> list[Any]:
    return on_page.figures(panels(view))


def picture(view: SweepView) -> Any:
    return on_paper.picture_of(panels(view), f"{view.name}: {heading_of(view)}")


def heading_of(view: SweepView) -> str:
    """What one sees: for the sparsest trial that keeps 95 % of the best quality, its shares."""
    objective = quality_of(view)
    worth = [t for t in view.trials if objective.function(t.result) > 0]
    if objective.direction != "max" or not worth:
        return f"{objective.name} against the sparsity of each modality"
    enough = 0.95 * max(objective.function(t.result) for t in worth)
    kept = [t for t in worth if objective.function(t.result) >= enough]
    sparsest = max(kept, key=lambda t: t.result.metrics["sparsity"])
    shares = sparsest.result.per_modality_sparsity.items()
    removed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
    return f"95 % of the best {objective.name} is left with {removed} removed"


def quality_of(view: SweepView) -> Objective:
    """The sweep's first objective that measures quality, else the task's first metric."""
    wanted = quality([o.name for o in view.front.objectives])
    measured = quality(view.trials[0].result.metrics) if view.trials else []
    names = [name for name in (*wanted, *measured) if name in view.front.known]
    return view.front.known[names[0]] if names else view.front.objectives[0]


def panels(view: SweepView) -> list[Panel]:
    objective = quality_of(view)
    modalities = list(view.trials[0].result.per_modality_sparsity) if view.trials else []
    return [_panel(view, objective, name, at) for at, name in enumerate(modalities)]


def _panel(view: SweepView, objective: Objective, modality: str, at: int) -> Panel:
    colour, symbol = HUES[at % len(HUES)], SYMBOLS[at % len(SYMBOLS)]
    groups = (
        ("not on the front", view.front.others, GREY, "circle-open"),
        (f"{modality}, on the front", view.front.points, colour, symbol),
    )
    series = tuple(
        Series(
            name=name, colour=hue, symbol=mark, faint=mark == "circle-open",
            x=[100 * t.result.per_modality_sparsity.get(modality, 0.0) for t in trials],
            y=[objective.function(t.result) for t in trials],
            hover=[hover(view, t) for t in trials],
        )
        for name, trials, hue, mark in groups
        if trials
    )  # fmt: skip
    return Panel(
        title=modality, x=Axis(text=f"{modality} weights removed, %", limits=(-4.0, 104.0)),
        y=Axis(text=axis_of(objective)), series=series,
    )  # fmt: skip
