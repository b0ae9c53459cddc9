"""The front as a small picture of characters, for a terminal."""

from __future__ import annotations

from sparsefront.search.reports.charts.front_pairs import pairs
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import format_value

WIDTH, HEIGHT = 60, 12
MARKS = "ox+*#@"


def scatter(views: list[SweepView], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Fronts in the first pair of objectives, a mark a sweep; of one sweep also dominated trials
    (.) and the knee (K).
    """
    x, y = pairs(views[0])[0]
    points: list[tuple[float, float, str]] = []
    for at, view in enumerate(views):
        if len(views) == 1:
            points += [(x.function(t.result), y.function(t.result), ".") for t in view.front.others]
        mark = MARKS[at % len(MARKS)]
        points += [(x.function(t.result), y.function(t.result), mark) for t in view.front.points]
        ringed = view.ringed()
        if len(views) == 1 and ringed is not None:
            points.append((x.function(ringed.result), y.function(ringed.result), "K"))
    if not points:
        return ""
    grid = [[" "] * width for _ in range(height)]
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    for across, up, mark in points:
        column = round((across - left) / ((right - left) or 1) * (width - 1))
        row = round((high - up) / ((high - low) or 1) * (height - 1))
        grid[row][column] = mark
    return _framed(grid, (x.name, y.name), (left, right, low, high), _legend(views))


def _framed(
    grid: list[list[str]],
    names: tuple[str, str],
    ends: tuple[float, float, float, float],
    legend: str,
) -> str:
    left, right, low, high = map(format_value, ends)
    lines = [f"{names[1]}: {legend}"]
    for at, row in enumerate(grid):
        number = {0: high, len(grid) - 1: low}.get(at, "")
        lines.append(f"{number:>8} |{''.join(row)}".rstrip())
    lines.append(f"{'':>8} +{'-' * len(grid[0])}")
    gap = " " * max(1, len(grid[0]) - len(left) - len(right))
    return "\n".join([*lines, f"{'':>10}{left}{gap}{right}", f"{'':>10}{names[0]}"])


def _legend(views: list[SweepView]) -> str:
    if len(views) == 1:
        return "o front, . not on it, K knee"
    marks = (f"{MARKS[at % len(MARKS)]} {view.name}" for at, view in enumerate(views))
    return ", ".join(marks)
