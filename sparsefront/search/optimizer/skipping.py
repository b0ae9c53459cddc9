"""Trials that need no training: their cost is exact once they are pruned, and may tell enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sparsefront.search.config.metric_names import BEFORE_TRAINING, LATENCY
from sparsefront.search.config.objectives import OBJECTIVES, Bound, Objective, feasible
from sparsefront.search.config.trial_result import TrialEnd, TrialResult

NEARLY_DENSE = 0.95
"""Share of the dense cost from which a trial shows what quality is within reach."""

LATENCY_NOISE = 0.1
"""By which two measurements of one latency may differ."""

MOST_IN_A_ROW = 200
"""Trials that cost nothing end a sweep when so many came without one that counts."""

WHICH_GO = ("allocation.", "trade_off.", "criterion", "score_batches")
"""Beginnings of fields that say which weights go, and of a dense model nothing."""

Costs = dict[str, float]


def comparable(fields: Iterable[str]) -> bool:
    """Whether trials that differ in these fields alone would be one model if they were dense: then
    a nearly dense one shows what quality all of them can reach.
    """
    return all(name.startswith(WHICH_GO) for name in fields)


def dominating_costs(
    objectives: Sequence[str],
    trials: Iterable[TrialResult],
    constraints: Mapping[str, Bound] | None = None,
    known: Mapping[str, Objective] = OBJECTIVES,
) -> list[Costs]:
    """Costs (objective -> value) of finished trials that nothing as costly can beat: of those that
    may be on the front the best in every quality, once a nearly dense one is among all measured.
    """
    everyone = list(trials)
    costs = [name for name in objectives if name in BEFORE_TRAINING]
    qualities = [known[name] for name in objectives if name not in BEFORE_TRAINING]
    if not costs or not qualities or not any(_nearly_dense(t, costs) for t in everyone):
        return []
    allowed = [trial for trial in everyone if feasible(trial, constraints or {})]
    best = {o.name: max((o.gain(t) for t in allowed), default=0.0) for o in qualities}
    return [
        {name: _surely(name, OBJECTIVES[name].function(trial)) for name in costs}
        for trial in allowed
        if all(o.gain(trial) == best[o.name] for o in qualities)
    ]


def skip_reason(
    costs: Mapping[str, float],
    beaten_by: Sequence[Costs],
    constraints: Mapping[str, Bound],
    costs_are_lower_bounds: bool = False,
) -> str | None:
    """Why a pruned trial of these costs need not be trained; None: it must.

    costs_are_lower_bounds  it may cost more, and costs that are not given are not known
    """
    bounds = upper_bounds(constraints) if costs_are_lower_bounds else constraints
    for name, bound in bounds.items():
        value = costs.get(name)
        at_least = "at least " if costs_are_lower_bounds else ""
        if value is not None and bound.max is not None and value > bound.max:
            return f"breaks {name}<={bound.max:g} before any training: {at_least}{value:g}"
        if value is not None and bound.min is not None and value < bound.min:
            return f"breaks {name}>={bound.min:g} before any training: {value:g}"
    for theirs in beaten_by:
        if theirs.keys() <= costs.keys() and all(costs[n] >= v for n, v in theirs.items()):
            shown = ", ".join(f"{name} {value:g}" for name, value in theirs.items())
            return f"dominated before any training: the best quality measured needs {shown} only"
    return None


def upper_bounds(constraints: Mapping[str, Bound]) -> dict[str, Bound]:
    """The bounds that a trial breaks which is known to cost at least so much."""
    return {
        name: replace(bound, min=None)
        for name, bound in constraints.items()
        if bound.max is not None
    }


def give_up_reason(skipped: Sequence[TrialEnd], constraints: Mapping[str, Bound]) -> str:
    """Why only trials that need no training are found: the bounds that none of these met, each with
    the best value seen; else the reason of the last one.
    """
    unmet = []
    for name, bound in constraints.items():
        known = [end for end in skipped if name in end.costs]
        seen = [end.costs[name] for end in known]
        exact = [end.costs[name] for end in known if not end.costs_are_lower_bounds]
        if seen and bound.max is not None and min(seen) > bound.max:
            unmet.append(f"{name}<={bound.max:g} (best value seen: {min(seen):g})")
        if exact and bound.min is not None and max(exact) < bound.min:
            unmet.append(f"{name}>={bound.min:g} (best value seen: {max(exact):g})")
    if unmet:
        return f"none met {', '.join(unmet)}; allowed: constraints that the space can meet"
    return f"the last one {skipped[-1].reason}"


def _surely(name: str, value: float) -> float:
    """From where on a trial surely costs as much: a latency is never measured the same twice."""
    return value * (1 + LATENCY_NOISE) if name in LATENCY else value


def _nearly_dense(trial: TrialResult, costs: Sequence[str]) -> bool:
    return all(
        OBJECTIVES[n].function(trial) >= NEARLY_DENSE * OBJECTIVES[n].worst(trial) for n in costs
    )
