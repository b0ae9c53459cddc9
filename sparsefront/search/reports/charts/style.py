"""Colours, marks and words that all charts share.

The hues are Okabe and Ito's, which colour-blind people tell apart; each role has a mark of its own
as well. Every one of them stands out from a white and from a dark page by 3:1 or more, what WCAG AA
asks of graphics; texts have 4.5:1 (tests/search/reports/charts/test_style.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from sparsefront.search.config.objectives import Objective

BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#00926b", "#a95c8b", "#3f8fc4"
GREY, INK = "#7b8794", "#1f2933"
HUES = (BLUE, ORANGE, GREEN, PURPLE, SKY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
MARKERS = {
    "circle": "o", "circle-open": "o", "square": "s", "diamond": "D", "triangle-up": "^",
    "cross": "P", "x-thin": "x", "star": "*",
}  # fmt: skip
"""Of matplotlib, by plotly's name."""

DENSE_TO_SPARSE = ((0.0, BLUE), (0.5, PURPLE), (1.0, ORANGE))
REMOVED = ((0.0, "#f3f7fb"), (0.35, "#bcd8ee"), (0.7, "#77b4df"), (1.0, "#3f93cf"))
"""Share of weights removed, from none to all: one hue, ever darker, so that grey prints keep it,
and never too dark for the number on it."""
ON_REMOVED = "#0d1720"

PAPER = {"ink": "#1b2430", "background": "#ffffff", "grid": "#d9dee5", "soft": "#556070"}
DARK = {"ink": "#e6eaf0", "background": "#12161c", "grid": "#343c48", "soft": "#a3adbb"}

AXES = {
    "GFLOPs": "GFLOPs a frame, theoretical (2 x MACs)",
    "AMOTP": "AMOTP, m",
    "nonzeros": "weights that are not zero",
    "parameters": "parameters of the deployed model",
    "bytes": "bytes of the deployed model",
    "latency_ms": "latency, ms a frame (median)",
}


def axis_of(objective: Objective) -> str:
    """An objective's name with its unit, and which way is better."""
    way = "higher" if objective.direction == "max" else "lower"
    return f"{AXES.get(objective.name, objective.name)}, {way} is better"


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """Dotted fields without what they all share in front, such as allocation.per_stage."""
    found = {}
    for name in fields:
        for prefix in (
            "allocation.per_modality.",
            "allocation.per_stage.",
            "allocation.per_layer.",
            "allocation.per_group.",
        ):
            if name.startswith(prefix):
                found[name] = name.removeprefix(prefix)
    names = list(dict.fromkeys(fields))
    if len(set(found.values())) < len(found):  # the same key in two of them
        found = {name: name.removeprefix("allocation.per_") for name in found}
    return {name: found.get(name, name.removeprefix("trade_off.")) for name in names}


def mixed(scale: tuple[tuple[float, str], ...], share: float) -> str:
    """The colour at a share of a scale."""
    share = min(max(share, 0.0), 1.0)
    for (low, one), (high, other) in pairwise(scale):
        if share <= high:
            part = (share - low) / (high - low)
            pairs = zip(channels(one), channels(other), strict=True)
            return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in pairs)
    return scale[-1][1]


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of #rrggbb, 0..255."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours, 1..21."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = (value / 255 for value in channels(colour))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
