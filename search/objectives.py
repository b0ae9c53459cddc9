"""Objectives: what a sweep optimises, and constraints on what it may return.

To add one: write an Objective below and list it in OBJECTIVES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from search.trial_spec import TrialResult


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A number of a trial that should be large ("max") or small ("min").

    function   TrialResult -> value, in `unit`
    worst      TrialResult -> the value that counts nothing in the hypervolume; the same for every
               trial of a sweep. The best possible value is 1 for "max" and 0 for "min".
    """

    name: str
    direction: Literal["max", "min"]
    unit: str
    function: Callable[[TrialResult], float]
    worst: Callable[[TrialResult], float]

    def gain(self, result: TrialResult) -> float:
        """0 at the worst value, 1 at the best possible one."""
        worst = self.worst(result)
        best = 1.0 if self.direction == "max" else 0.0
        return (self.function(result) - worst) / (best - worst)


def _metric(name: str) -> Callable[[TrialResult], float]:
    return lambda result: result.metrics[name]


MAP = Objective(
    name="mAP", direction="max", unit="", function=_metric("mAP"), worst=lambda _: 0.0
)  # fmt: skip
NDS = Objective(
    name="NDS", direction="max", unit="", function=_metric("NDS"), worst=lambda _: 0.0
)  # fmt: skip
GFLOPS = Objective(
    name="GFLOPs", direction="min", unit="1e9 FLOPs a frame, 2 x MACs",
    function=_metric("GFLOPs"), worst=lambda result: 2 * result.metrics["GMACs_dense"],
)  # fmt: skip

OBJECTIVES: dict[str, Objective] = {o.name: o for o in (MAP, NDS, GFLOPS)}


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A constraint on a metric: a trial outside is measured and kept, but never on the front."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("min, max: give at least one of the two")


def violations(result: TrialResult, constraints: Mapping[str, Bound]) -> dict[str, float]:
    """How far each bound is exceeded, in the metric's unit; 0 and below is feasible."""
    found: dict[str, float] = {}
    for metric, bound in constraints.items():
        value = result.metrics[metric]
        if bound.max is not None:
            found[f"{metric}<={bound.max:g}"] = value - bound.max
        if bound.min is not None:
            found[f"{metric}>={bound.min:g}"] = bound.min - value
    return found


def feasible(result: TrialResult, constraints: Mapping[str, Bound]) -> bool:
    return all(excess <= 0 for excess in violations(result, constraints).values())
