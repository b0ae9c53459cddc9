"""What most charts are made of: axes with points and lines, prepared once and drawn twice, by
plotly on a page (on_page.py) and by matplotlib on paper (on_paper.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Axis:
    """text: with its unit. ticks: (place, what stands there); empty: numbers."""

    text: str
    limits: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind; (x, y) of a place, and what is said of it on hovering.

    draw    points; a line through them; steps, over and then up, or up and then over; a large ring
    symbol  plotly's name of the mark
    labels  short texts beside the points, on paper only; empty: none
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    draw: Literal["points", "line", "over_up", "up_over", "ring"] = "points"
    symbol: str = "circle"
    hover: Sequence[str] = ()
    labels: Sequence[str] = ()
    size: float = 8.0
    dash: bool = False
    faint: bool = False
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Region:
    """A shaded box, such as where a constraint is broken; None: to the edge of the axes."""

    name: str
    x: tuple[float | None, float | None] = (None, None)
    y: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A dotted line across the axes at x or y, with its name beside it."""

    name: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    regions: tuple[Region, ...] = ()
    lines: tuple[Line, ...] = ()
    legend: bool = True

    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(x, y) limits that hold every point, line and region with a margin."""
        x = [v for s in self.series for v in s.x] + [i.x for i in self.lines if i.x is not None]
        y = [v for s in self.series for v in s.y] + [i.y for i in self.lines if i.y is not None]
        x += [v for region in self.regions for v in region.x if v is not None]
        y += [v for region in self.regions for v in region.y if v is not None]
        return _limits(self.x, x), _limits(self.y, y)


def _limits(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    if axis.limits is not None:
        return axis.limits
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.07 * (high - low) or 0.07 * abs(high) or 0.5
    return low - margin, high + margin
