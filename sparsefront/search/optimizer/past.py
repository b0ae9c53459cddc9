"""Trials that have ended, as Optuna's samplers want to see them."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

ESTIMATE, FREE = "estimate", "free"
"""What a stopped trial would have had; whether it cost nothing, and does not count."""
SKIPPED = "skipped"
"""Of a trial as samplers see it: it was never trained, so that only its costs were measured."""


def as_samplers_want(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Finished trials, and stopped ones at their estimate, all with the same constraints: one that
    is not known of a trial is neither met nor broken.
    """
    values: dict[int, list[float]] = {}
    for trial in trials:
        estimate = trial.user_attrs.get(ESTIMATE, [None])
        if trial.state == TrialState.COMPLETE:
            values[trial.number] = trial.values
        elif trial.state == TrialState.PRUNED and None not in estimate:
            values[trial.number] = estimate
    ended = [trial for trial in trials if trial.number in values]
    names = {name for trial in ended for name in trial.constraints}
    return [
        trial
        if trial.state == TrialState.COMPLETE and trial.constraints.keys() == names
        else optuna.trial.create_trial(
            values=values[trial.number],
            params=trial.params,
            distributions=trial.distributions,
            constraints={name: trial.constraints.get(name, 0.0) for name in sorted(names)},
            user_attrs={SKIPPED: trial.state != TrialState.COMPLETE and trial.user_attrs.get(FREE)},
        )
        for trial in ended
    ]
