"""The allocation of every point of the front: how much of each stage of each modality goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparsefront.search.reports.charts.modality_quality import quality_of
from sparsefront.search.reports.charts.on_paper import blank
from sparsefront.search.reports.charts.style import ON_REMOVED, PAPER, REMOVED
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import format_value
from sparsefront.search.runs.trial_reader import StoredTrial

NAME, HEADING = "allocation", "What the front removes where"
READING = (
    "One row a point of the front, the costliest on top; one column a stage of a modality, a part "
    "of the model. The darker the cell, the more of its weights are gone. A column that stays "
    "light holds the weights that quality needs."
)
MOST_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class Allocations:
    """percent[row][column]: weights removed of a stage; rows from the costliest to the cheapest."""

    rows: tuple[str, ...]
    stages: tuple[str, ...]
    percent: tuple[tuple[float, ...], ...]


def allocations(view: SweepView) -> Allocations:
    """Of the front's points, at most MOST_ROWS evenly over it."""
    points = list(view.front.points)
    if len(points) > MOST_ROWS:
        step = (len(points) - 1) / (MOST_ROWS - 1)
        points = [points[round(step * at)] for at in range(MOST_ROWS)]
    objective, ringed = quality_of(view), view.ringed()
    removed = [stage_sparsity(point) for point in points]
    stages = tuple(dict.fromkeys(stage for row in removed for stage in row))
    rows = []
    for point in points:
        cost, value = point.result.metrics["GFLOPs"], objective.function(point.result)
        mark = " ◯" if ringed is not None and point.trial_id == ringed.trial_id else ""
        rows.append(
            f"{point.trial_id}: {cost:.3g} GFLOPs, {objective.name} {format_value(value)}{mark}"
        )
    return Allocations(
        rows=tuple(rows), stages=stages,
        percent=tuple(tuple(100 * row.get(s, 0.0) for s in stages) for row in removed),
    )  # fmt: skip


def stage_sparsity(trial: StoredTrial) -> dict[str, float]:
    """modality.stage -> share of its prunable weights that are gone, modality by modality; the
    whole modality where a result has no layers.
    """
    layers = trial.result.cost.get("per_layer", {})
    totals: dict[str, tuple[float, float]] = {}
    for name, removed in trial.result.per_layer_sparsity.items():
        stage = ".".join(name.split(".")[:2])
        size = float(layers[name]["parameters"]) if name in layers else 1.0
        gone, of = totals.get(stage, (0.0, 0.0))
        totals[stage] = (gone + removed * size, of + size)
    if not totals:
        return dict(trial.result.per_modality_sparsity)
    order = list(trial.result.per_modality_sparsity)
    stages = sorted(
        totals, key=lambda s: (_place(order, s.partition(".")[0]), list(totals).index(s))
    )
    return {stage: totals[stage][0] / totals[stage][1] for stage in stages}


def pages(view: SweepView) -> list[Any]:
    from plotly.graph_objects import Figure, Heatmap

    found = allocations(view)
    if not found.rows:
        return []
    texts = [[f"{value:.0f}" for value in row] for row in found.percent]
    cells = Heatmap(
        z=[list(row) for row in found.percent], x=[_broken(s) for s in found.stages],
        y=list(found.rows), text=texts, texttemplate="%{text}", textfont={"color": ON_REMOVED},
        zmin=0, zmax=100, xgap=2, ygap=2,
        colorscale=[[at, colour] for at, colour in REMOVED],
        colorbar={"title": {"text": "removed, %", "side": "right"}, "thickness": 12},
        hovertemplate="%{y}<br>%{x}: %{z:.1f} % removed<extra></extra>",
    )  # fmt: skip
    figure = Figure(cells, layout={"template": "none"})
    figure.update_layout(
        height=110 + 27 * max(4, len(found.rows)), margin={"l": 10, "r": 10, "t": 10, "b": 10},
        xaxis={"side": "top", "tickangle": 0, "automargin": True, "showgrid": False},
        yaxis={
            "autorange": "reversed", "automargin": True, "showgrid": False,
            "title": {"text": "trial: cost, quality", "standoff": 6, "font": {"size": 13}},
        },
        meta={"wide": 90 * len(found.stages) + 330},
    )  # fmt: skip
    return [figure]


def picture(view: SweepView) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    found = allocations(view)
    if not found.rows:
        return None
    size = (4.2 + 1.05 * max(3, len(found.stages)), 1.7 + 0.3 * max(4, len(found.rows)))
    figure = blank(max(7.0, size[0]), size[1])
    axis = figure.subplots()
    colours = LinearSegmentedColormap.from_list("removed", list(REMOVED))
    cells = axis.imshow(found.percent, cmap=colours, vmin=0, vmax=100, aspect="auto")
    for row, values in enumerate(found.percent):
        for column, value in enumerate(values):
            axis.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color=ON_REMOVED
            )
    axis.set_xticks(range(len(found.stages)), [s.replace(".", "\n") for s in found.stages])
    axis.set_yticks(range(len(found.rows)), [row.replace("◯", "(knee)") for row in found.rows])
    axis.set_ylabel("trial: cost, quality", fontsize=10)
    axis.tick_params(
        length=0, labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False
    )
    axis.spines[:].set_visible(False)
    for column in range(1, len(found.stages)):
        axis.axvline(column - 0.5, color="white", lw=2)
    for row in range(1, len(found.rows)):
        axis.axhline(row - 0.5, color="white", lw=1)
    figure.colorbar(cells, ax=axis, label="weights removed, %", shrink=0.8, pad=0.02)
    figure.suptitle(
        f"{view.name}: weights removed of each stage, dense to sparse along the front",
        fontsize=13, color=PAPER["ink"],
    )  # fmt: skip
    return figure


def _place(order: list[str], modality: str) -> int:
    return order.index(modality) if modality in order else len(order)


def _broken(stage: str) -> str:
    return stage.replace(".", "<br>", 1)
