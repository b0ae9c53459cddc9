"""The charts of a sweep: each is prepared once and drawn twice, by plotly for pages and by
matplotlib for pictures. To add one: a module like the others, and its line in CHARTS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from sparsefront.search.reports.charts import (
    front_3d,
    front_pairs,
    heat_map,
    hypervolume,
    importance,
    modality_quality,
    parallel,
)
from sparsefront.search.reports.sweep_view import SweepView


@dataclass(frozen=True, kw_only=True)
class Chart:
    """name: of its files. reading: how to read it. pages gives plotly figures, none where the chart
    does not apply; picture a matplotlib figure, or None.
    """

    name: str
    heading: str
    reading: str
    pages: Callable[[SweepView], list[Any]]
    picture: Callable[[SweepView], Any]


def _chart(module: ModuleType) -> Chart:
    return Chart(
        name=module.NAME, heading=module.HEADING, reading=module.READING, pages=module.pages,
        picture=module.picture,
    )  # fmt: skip


FRONT = _chart(front_pairs)
CHARTS = (
    FRONT,
    *map(
        _chart,
        (front_3d, heat_map, hypervolume, modality_quality, importance, parallel),
    ),
)
