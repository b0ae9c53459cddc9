"""Panels as plotly figures. Colours of texts and grids are the page's own, light or dark, and are
set there (page.js).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsefront.search.reports.charts.panel import Axis, Panel, Series
from sparsefront.search.reports.charts.style import GREY, ORANGE

LONG = 45  # letters that fit beside a panel
MARGIN = {"l": 64, "r": 16, "t": 44, "b": 96}
LEGEND = {
    "orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0,
    "font": {"size": 13},
}  # fmt: skip


def figures(panels: list[Panel]) -> list[Any]:
    """One plotly figure a panel."""
    return [figure_of(panel) for panel in panels]


def figure_of(panel: Panel) -> Any:
    """A panel as a plotly figure, without a width: the page gives it one."""
    from plotly.graph_objects import Figure

    (left, right), (low, high) = panel.bounds()
    figure = Figure(layout={"template": "none"})
    for region in panel.regions:
        x0, x1 = (left if region.x[0] is None else region.x[0]), region.x[1]
        y0, y1 = (low if region.y[0] is None else region.y[0]), region.y[1]
        figure.add_shape(
            type="rect", x0=x0, x1=right if x1 is None else x1,
            y0=y0, y1=high if y1 is None else y1,
            fillcolor=ORANGE, opacity=0.13, line_width=0, layer="below",
            label={"text": region.name.removeprefix("not allowed: "), "font": {"size": 11}},
        )  # fmt: skip
    for line in panel.lines:
        add = figure.add_vline if line.x is not None else figure.add_hline
        where = {"x": line.x} if line.x is not None else {"y": line.y}
        add(
            **where, line={"dash": "dot", "width": 1, "color": GREY}, annotation_text=line.name,
            annotation_position="bottom left" if line.x is not None else "top right",
        )  # fmt: skip
    for series in panel.series:
        figure.add_trace(_trace(series))
    below = 96 + 18 * max(0, _names(panel) // 2 - 1)
    upright = _in_two_lines(panel.y) if len(panel.y.text) > LONG else panel.y
    figure.update_layout(
        title=title(panel.title), xaxis=_axis(_in_two_lines(panel.x), (left, right)),
        yaxis=_axis(upright, (low, high)), margin={**MARGIN, "b": below}, height=304 + below,
        hovermode="closest", showlegend=panel.legend, legend=LEGEND,
    )  # fmt: skip
    return figure


def _names(panel: Panel) -> int:
    """How many names the legend has; on a narrow panel they take a line for two."""
    return len({s.name for s in panel.series if s.in_legend}) if panel.legend else 0


def title(text: str) -> dict[str, Any]:
    """A title over the left end of the axes."""
    return {"text": text, "font": {"size": 15}, "x": 0, "xref": "paper", "xanchor": "left"}


def _axis(axis: Axis, limits: tuple[float, float]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title": {"text": axis.text, "standoff": 8, "font": {"size": 13}},
        "range": list(limits), "zeroline": False, "automargin": True,
    }  # fmt: skip
    if axis.ticks:
        places, texts = zip(*axis.ticks, strict=True)
        found |= {"tickvals": list(places), "ticktext": list(texts)}
    return found


def _in_two_lines(axis: Axis) -> Axis:
    """A long title below the axes, broken before what is better."""
    text = axis.text.replace(", lower is better", "<br>lower is better")
    return replace(axis, text=text.replace(", higher is better", "<br>higher is better"))


def _trace(series: Series) -> Any:
    from plotly.graph_objects import Scatter

    lines = series.draw not in ("points", "ring")
    marks = series.draw in ("points", "ring") or (lines and len(series.hover) > 0)
    kind = "+".join(p for p, wanted in (("lines", lines), ("markers", marks)) if wanted)
    marker: dict[str, Any] = {"size": series.size, "symbol": series.symbol, "color": series.colour}
    if series.draw == "ring":
        marker |= {"size": 20, "symbol": "circle-open", "line": {"width": 2.5}}
    elif series.symbol.endswith("thin"):
        marker |= {"line": {"width": 1.5, "color": series.colour}}
    line = {
        "color": series.colour, "width": 1 if series.faint else 1.8,
        "dash": "dash" if series.dash else "solid",
        "shape": {"over_up": "hv", "up_over": "vh"}.get(series.draw, "linear"),
    }  # fmt: skip
    return Scatter(
        x=list(series.x), y=list(series.y), mode=kind or "lines", name=series.name, marker=marker,
        line=line if lines else None, opacity=0.6 if series.faint else 1.0,
        hovertext=list(series.hover) or None, hoverinfo="text" if series.hover else "skip",
        showlegend=series.in_legend,
    )  # fmt: skip
