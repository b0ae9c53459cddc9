"""The small picture of characters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports.terminal import scatter


def test_scatter_by_hand(view_of: Any, sweep: Sweep) -> None:
    """Corners: the best on top right, the cheapest at the bottom left."""
    view = view_of(
        [(0.8, 9.0, 0.5), (0.7, 5.0, 0.5), (0.2, 1.0, 0.5)],
        of=replace(sweep, objectives=["mAP", "GFLOPs"]),
    )
    lines = scatter([view], width=21, height=4).splitlines()
    assert lines[1] == "  0.8000 |                    o"
    assert lines[2].rstrip().endswith("K") and lines[2].index("K") == 20
    assert lines[4] == "  0.2000 |o"
