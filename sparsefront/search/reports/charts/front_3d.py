"""The front in space, where there are three objectives or more."""

from __future__ import annotations

from typing import Any

from sparsefront.search.config.objectives import Objective
from sparsefront.search.reports.charts.hover import hover
from sparsefront.search.reports.charts.on_page import LEGEND
from sparsefront.search.reports.charts.on_paper import blank
from sparsefront.search.reports.charts.style import BLUE, GREY, ORANGE, PAPER, axis_of
from sparsefront.search.reports.sweep_view import SweepView

NAME, HEADING = "front-3d", "The front in space"
READING = (
    "Three objectives at once; drag to turn it, pinch or scroll to come closer. Filled points are "
    "the front, grey ones are not on it, the ring is the knee."
)


def applies(view: SweepView) -> bool:
    return len(view.front.objectives) >= 3


def axes_of(view: SweepView) -> list[Objective]:
    """Three objectives: a cost first, as far as there is one, then the others in their order."""
    objectives = view.front.objectives
    cost = next((o for o in reversed(objectives) if o.direction == "min"), objectives[-1])
    others = [o for o in objectives if o is not cost]
    return [cost, others[1], others[0]]


def pages(view: SweepView) -> list[Any]:
    if not applies(view):
        return []
    from plotly.graph_objects import Figure, Scatter3d

    axes = axes_of(view)
    figure = Figure(layout={"template": "none"})
    for name, trials, colour, size, mark in _groups(view):
        x, y, z = ([o.function(t.result) for t in trials] for o in axes)
        figure.add_trace(
            Scatter3d(
                x=x, y=y, z=z, mode="markers", name=name, hoverinfo="text",
                hovertext=[hover(view, t) for t in trials],
                marker={"size": size, "color": colour, "symbol": mark},
            )
        )  # fmt: skip
    titles = {
        key: {
            "title": {"text": _plain(o), "font": {"size": 12}},
            "showbackground": False,
            "nticks": 5,
        }
        for key, o in zip(("xaxis", "yaxis", "zaxis"), axes, strict=True)
    }
    figure.update_layout(
        scene={**titles, "camera": {"eye": {"x": -1.6, "y": -1.7, "z": 0.75}}}, height=500,
        margin={"l": 0, "r": 0, "t": 10, "b": 10},
        legend=LEGEND,
    )  # fmt: skip
    return [figure]


def picture(view: SweepView) -> Any:
    if not applies(view):
        return None
    axes = axes_of(view)
    figure = blank(7.4, 6.0)
    space = figure.add_subplot(projection="3d")
    for name, trials, colour, size, mark in _groups(view):
        x, y, z = ([o.function(t.result) for t in trials] for o in axes)
        hollow = mark.endswith("open")
        faces = {"facecolors": "none", "edgecolors": colour} if hollow else {"color": colour}
        space.scatter(x, y, z, s=(size * 1.3) ** 2, label=name, depthshade=False, **faces)
    space.view_init(elev=22, azim=-130)
    space.set_xlabel(_plain(axes[0]), fontsize=9, labelpad=8)
    space.set_ylabel(_plain(axes[1]), fontsize=9, labelpad=8)
    space.set_zlabel(_plain(axes[2]), fontsize=9, labelpad=8)
    space.tick_params(labelsize=8)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    names = ", ".join(o.name for o in reversed(axes))
    figure.suptitle(f"{view.name}: the front in {names}", fontsize=13, color=PAPER["ink"])
    return figure


def _groups(view: SweepView) -> list[tuple[str, list[Any], str, float, str]]:
    ringed = view.ringed()
    found: list[tuple[str, list[Any], str, float, str]] = [
        ("not on the front", list(view.front.others), GREY, 4.0, "circle-open"),
        ("front", list(view.front.points), BLUE, 5.5, "circle"),
        ("knee", [ringed] if ringed is not None else [], ORANGE, 12.0, "circle-open"),
    ]
    return [group for group in found if group[1]]


def _plain(objective: Objective) -> str:
    return axis_of(objective).partition(", ")[0]
