"""What the optimizer learns from a trial that was ended before full fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparsefront.search.config.metric_names import BEFORE_TRAINING
from sparsefront.search.config.objectives import OBJECTIVES, Bound, Objective, excess
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd, TrialResult
from sparsefront.search.optimizer.skipping import upper_bounds

ENOUGH = 3
"""Finished trials from which on the average gain after a rung is believed."""


class StoppedEstimate(NamedTuple):
    """The objectives that a stopped trial would have had, and how far it exceeds constraints."""

    objectives: dict[str, float]
    excess: dict[str, float]


def estimate_stopped(
    end: TrialEnd,
    objectives: Sequence[str],
    constraints: Mapping[str, Bound],
    finished: Sequence[TrialResult],
    known_objectives: Mapping[str, Objective] = OBJECTIVES,
) -> StoppedEstimate:
    """Costs are exact, or the least that they could be. Quality is that at the last rung plus what
    finished trials gained from there on average; of a trial without any rung, that of the best.
    """
    last = end.intermediate_results[-1] if end.intermediate_results else None
    known = end.costs if last is None else last["metrics"]
    estimate = {
        name: known[name] for name in objectives if name in known and name in BEFORE_TRAINING
    }
    for name in objectives:
        if name in BEFORE_TRAINING:
            continue
        if last is not None:
            estimate[name] = known[name] + _gain_after(name, last, finished)
        elif finished:
            objective = known_objectives[name]
            estimate[name] = objective.function(max(finished, key=objective.gain))
    broken = upper_bounds(constraints) if end.costs_are_lower_bounds else constraints
    return StoppedEstimate(estimate, excess({**known, **estimate}, broken))


def _gain_after(name: str, rung: IntermediateResult, finished: Sequence[TrialResult]) -> float:
    """By finished trials from the same rung to full fidelity, on average; 0 while few tell."""
    gains = [
        trial.metrics[name] - earlier["metrics"][name]
        for trial in finished
        for earlier in trial.intermediate_results
        if (earlier["steps"], earlier["frames"]) == (rung["steps"], rung["frames"])
    ]
    return sum(gains) / len(gains) if len(gains) >= ENOUGH else 0.0
