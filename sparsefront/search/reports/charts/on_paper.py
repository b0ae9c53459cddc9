"""Panels as a matplotlib figure, for a slide: white, wide, texts that can be read from afar."""

from __future__ import annotations

import math
from typing import Any

from sparsefront.search.reports.charts.panel import Axis, Panel, Series
from sparsefront.search.reports.charts.style import GREY, MARKERS, ORANGE, PAPER

DPI = 150
PANEL_WIDTH, PANEL_HEIGHT = 4.5, 3.9  # inches
COLUMNS = 3


def blank(width: float, height: float, dpi: int = DPI) -> Any:
    """A figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=dpi)


def picture_of(panels: list[Panel], title: str, *, legend: bool = True) -> Any:
    """Panels side by side, at most three in a row, with one legend for all of them below."""
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = max(7.0, PANEL_WIDTH * columns)
    figure = blank(width, PANEL_HEIGHT * rows + 1.0)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        draw(axis, panel)
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.suptitle(title, fontsize=14, color=PAPER["ink"])
    if legend and any(panel.legend for panel in panels):
        shared_legend(figure, list(axes[: len(panels)]))
    return figure


def shared_legend(figure: Any, axes: list[Any]) -> None:
    """Every name once, under the panels."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if found:
        figure.legend(
            list(found.values()), list(found), loc="outside lower center",
            ncols=min(len(found), 6), frameon=False, fontsize=10,
        )  # fmt: skip


def draw(axis: Any, panel: Panel) -> None:
    """A panel into matplotlib's axes."""
    (left, right), (low, high) = panel.bounds()
    for region in panel.regions:
        x0, x1 = (left if region.x[0] is None else region.x[0]), region.x[1]
        y0, y1 = (low if region.y[0] is None else region.y[0]), region.y[1]
        axis.fill_between(
            [x0, right if x1 is None else x1], y0, high if y1 is None else y1,
            color=ORANGE, alpha=0.13, lw=0, label=region.name,
        )  # fmt: skip
    for line in panel.lines:
        along = axis.axvline if line.x is not None else axis.axhline
        along(line.x if line.x is not None else line.y, ls=":", lw=1.2, color=GREY, label=line.name)
    for series in panel.series:
        _draw_series(axis, series)
    _label(axis, panel)
    axis.set_title(panel.title, fontsize=11, loc="left", color=PAPER["ink"])
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)
    _ticks(axis.xaxis, panel.x)
    _ticks(axis.yaxis, panel.y)
    axis.set_xlabel(panel.x.text, fontsize=10)
    long = len(panel.y.text) > 45
    axis.set_ylabel(panel.y.text.replace(", ", "\n") if long else panel.y.text, fontsize=10)
    axis.grid(color=PAPER["grid"], lw=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9, color=PAPER["soft"])


def _draw_series(axis: Any, series: Series) -> None:
    name = series.name if series.in_legend else "_" + series.name
    alpha = 0.55 if series.faint else 1.0
    size = (series.size * 0.78) ** 2
    if series.draw == "ring":
        axis.scatter(
            series.x, series.y, s=230, facecolors="none", edgecolors=series.colour, lw=2.2,
            label=name, zorder=4,
        )  # fmt: skip
    elif series.draw == "points":
        open_mark = series.symbol.endswith("open")
        marker = MARKERS[series.symbol]
        colours: dict[str, Any] = {"color": series.colour}
        if open_mark:
            colours = {"facecolors": "none", "edgecolors": series.colour, "lw": 1.1}
        axis.scatter(
            series.x, series.y, s=size, marker=marker, alpha=alpha, label=name, zorder=3, **colours
        )
    else:
        style = {"over_up": "steps-post", "up_over": "steps-pre"}.get(series.draw, "default")
        axis.plot(
            series.x, series.y, color=series.colour, alpha=alpha, drawstyle=style, label=name,
            lw=0.9 if series.faint else 1.4, ls="--" if series.dash else "-", zorder=2,
        )  # fmt: skip


def _label(axis: Any, panel: Panel) -> None:
    """Texts beside points, but for those that would lie over another one."""
    (left, right), (low, high) = panel.bounds()
    placed: list[tuple[float, float]] = []
    for series in panel.series:
        for x, y, label in zip(series.x, series.y, series.labels, strict=False):
            across, up = (x - left) / (right - left), (y - low) / (high - low)
            if any(abs(across - a) < 0.06 and abs(up - u) < 0.045 for a, u in placed):
                continue
            placed.append((across, up))
            axis.annotate(
                label, (x, y), (5, -9), textcoords="offset points", fontsize=8,
                color=PAPER["soft"],
            )  # fmt: skip


def _ticks(axis: Any, wanted: Axis) -> None:
    from matplotlib.ticker import EngFormatter

    if wanted.ticks:
        places, texts = zip(*wanted.ticks, strict=True)
        axis.set_ticks(list(places), list(texts))
    elif max(map(abs, axis.get_view_interval())) >= 1e4:
        axis.set_major_formatter(EngFormatter(sep=""))
