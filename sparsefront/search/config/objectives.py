"""Objectives: what a sweep optimises, and constraints on what it may return.

To add one: write an Objective below and list it in OBJECTIVES; a new metric also goes into
config/metric_names.py, which says which trials measure it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sparsefront.errors import InputError
from sparsefront.search.config.task import Metric
from sparsefront.search.config.trial_result import TrialResult

DEFAULT_OBJECTIVES = ("mAP", "NDS", "GFLOPs")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A number of a trial that should be large ("max") or small ("min").

    function   TrialResult -> value, in `unit`; InputError for a result without it
    worst      TrialResult -> the value that counts nothing in the hypervolume, such as the dense
               model's
    best       the best possible value; None: 1 for "max" and 0 for "min"
    """

    name: str
    direction: Literal["max", "min"]
    unit: str
    function: Callable[[TrialResult], float]
    worst: Callable[[TrialResult], float]
    best: float | None = None

    @property
    def best_value(self) -> float:
        if self.best is not None:
            return self.best
        return 1.0 if self.direction == "max" else 0.0

    def gain(self, result: TrialResult, worst: float | None = None) -> float:
        """0 at the worst value (default: the result's own), 1 at the best possible one."""
        worst = self.worst(result) if worst is None else worst
        return (self.function(result) - worst) / (self.best_value - worst)

    def worst_of(self, results: Iterable[TrialResult]) -> float:
        """One worst value for all of them: the dense models differ where the search changes the
        model, and a latency is never measured the same twice.
        """
        values = [self.worst(result) for result in results]
        return min(values) if self.direction == "max" else max(values)


def metric(
    name: str,
    direction: Literal["max", "min"],
    worst: Callable[[TrialResult], float],
    unit: str = "",
) -> Objective:
    """The objective that is a metric of the trial, under the metric's name."""
    return Objective(
        name=name, direction=direction, unit=unit, worst=worst,
        function=lambda result: value_of(result, name),
    )  # fmt: skip


def value_of(result: TrialResult, name: str) -> float:
    """A metric of a result. InputError naming those that it has."""
    if name not in result.metrics:
        raise InputError(
            f"metric {name!r} was not measured by this trial; it has: {', '.join(result.metrics)}"
        )
    return result.metrics[name]


def cost(name: str, dense: str, unit: str) -> Objective:
    """The objective that is a cost; at worst that of the dense model, the metric `dense`."""
    return metric(name, "min", lambda result: value_of(result, dense), unit=unit)


def _none(result: TrialResult) -> float:
    return 0.0


MAP = metric("mAP", "max", _none)
NDS = metric("NDS", "max", _none)
AMOTA = metric("AMOTA", "max", _none)
AMOTP = metric("AMOTP", "min", lambda _: 2.0, unit="m")
MIOU = metric("mIoU", "max", _none)
AP3D = metric("AP3D", "max", _none)
APBEV = metric("APBEV", "max", _none)
AP2D = metric("AP2D", "max", _none)
AOS = metric("AOS", "max", _none)
GFLOPS = metric(
    "GFLOPs", "min", lambda result: 2 * value_of(result, "GMACs_dense"),
    unit="1e9 FLOPs a frame, 2 x MACs",
)  # fmt: skip
NONZEROS = cost("nonzeros", "parameters_dense", "weights")
PARAMETERS = cost("parameters", "parameters_dense", "parameters of the deployed model")
BYTES = cost("bytes", "bytes_dense", "bytes, as pruning/stored_size.py counts them")
LATENCY_MS = cost("latency_ms", "latency_ms_dense", "ms a forward pass of one frame, median")

OBJECTIVES: dict[str, Objective] = {
    o.name: o
    for o in (
        MAP, NDS, AMOTA, AMOTP, MIOU, AP3D, APBEV, AP2D, AOS, GFLOPS, NONZEROS, PARAMETERS, BYTES,
        LATENCY_MS,
    )
}  # fmt: skip


def known_objectives(metrics: Mapping[str, Metric]) -> dict[str, Objective]:
    """Ours, and those of a task of one's own, by name."""
    own = {name: _of_metric(name, found) for name, found in metrics.items()}
    return {**OBJECTIVES, **own}


def _of_metric(name: str, found: Metric) -> Objective:
    return Objective(
        name=name, direction=found.direction, unit=found.unit, best=found.best,
        worst=lambda _: found.worst, function=lambda result: value_of(result, name),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A constraint on a metric: a trial outside is measured and kept, but never on the front."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise InputError("min, max: give at least one of the two")


def violations(result: TrialResult, constraints: Mapping[str, Bound]) -> dict[str, float]:
    """How far each bound is exceeded, in the metric's unit; 0 and below is feasible. InputError for
    a metric that the result lacks.
    """
    return excess({name: value_of(result, name) for name in constraints}, constraints)


def excess(metrics: Mapping[str, float], constraints: Mapping[str, Bound]) -> dict[str, float]:
    """The same for those bounds whose metric is known yet."""
    found: dict[str, float] = {}
    for metric, bound in constraints.items():
        if metric not in metrics:
            continue
        value = metrics[metric]
        if bound.max is not None:
            found[f"{metric}<={bound.max:g}"] = value - bound.max
        if bound.min is not None:
            found[f"{metric}>={bound.min:g}"] = bound.min - value
    return found


def feasible(result: TrialResult, constraints: Mapping[str, Bound]) -> bool:
    return all(excess <= 0 for excess in violations(result, constraints).values())
