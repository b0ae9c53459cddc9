"""What the optimizer learns from a trial that was ended before full fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.objectives import OBJECTIVES, Bound, excess
from search.optimizer import Stopped
from search.rungs.skipping import most_only
from search.runs.run_store import Stop
from search.tasks import BEFORE_TRAINING
from search.trials.spec import Look, TrialResult

ENOUGH = 3


def outcome_of(
    stop: Stop,
    objectives: Sequence[str],
    constraints: Mapping[str, Bound],
    finished: Sequence[TrialResult],
) -> Stopped:
    """Costs are exact, or the least that they could be. Quality is that at the last rung plus what
    finished trials gained from there on average; of a trial without any look, that of the best.
    """
    known = stop.looks[-1]["metrics"] if stop.looks else stop.costs
    estimate = {
        name: known[name] for name in objectives if name in known and name in BEFORE_TRAINING
    }
    for name in objectives:
        if name in BEFORE_TRAINING:
            continue
        if stop.looks:
            estimate[name] = known[name] + _gained(name, stop.looks[-1], finished)
        elif finished:
            objective = OBJECTIVES[name]
            best = max(finished, key=objective.gain)
            estimate[name] = objective.function(best)
    return Stopped(
        stop.reason, estimate=estimate,
        excess=excess({**known, **estimate}, most_only(constraints) if stop.least else constraints),
        free=not stop.looks,
    )  # fmt: skip


def _gained(name: str, look: Look, finished: Sequence[TrialResult]) -> float:
    """By finished trials from the same rung to full fidelity, on average; 0 while few tell."""
    gains = [
        trial.metrics[name] - earlier["metrics"][name]
        for trial in finished
        for earlier in trial.looks
        if (earlier["steps"], earlier["frames"]) == (look["steps"], look["frames"])
    ]
    return sum(gains) / len(gains) if len(gains) >= ENOUGH else 0.0
