"""Optuna proposes, anybody evaluates: ask and tell for several objectives.

Optuna's storage is the truth of what was asked and told, and nothing else holds state: re-opening
it after any crash goes on where it stopped. A trial's id is its Optuna number.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.proposals.prediction import Agreement, Prediction, propose
from search.proposals.samplers import Sampler, suggest
from search.space import Range, Space, Value

Direction = Literal["max", "min"]
DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
REASON, DUPLICATE, ESTIMATE, FREE = "reason", "duplicate", "estimate", "free"
BASELINE = "baseline"
MAX_REDRAWS = 50
GROUND = 1_000_003


class Proposal(NamedTuple):
    """What to try: the trial's id and a value for each field of the space."""

    trial_id: int
    values: dict[str, Value]


@dataclass(frozen=True)
class Failure:
    """A trial that gave no result, and why."""

    reason: str


@dataclass(frozen=True)
class Stopped:
    """A trial that was ended before its full fidelity, and why. It is never on the front.

    estimate  the objectives that it would have had, for the sampler to learn from; may be empty
    excess    by how much each constraint is exceeded
    free      it cost nothing, and does not count as a trial
    """

    reason: str
    estimate: Mapping[str, float] = field(default_factory=dict)
    excess: Mapping[str, float] = field(default_factory=dict)
    free: bool = False


class Optimizer:
    """Asks and tells one multi-objective study.

    space       what each field may be
    objectives  name -> whether it should be large or small
    storage     a file (Optuna's journal), a database URI (sqlite:///..., postgresql://...), or
                None: this process alone
    sampler     "auto": a Gaussian process up to 150 trials, then NSGA-II
    first       values tried before any are proposed; fields left out are drawn at random
    prediction  what importance scores predict (proposals/prediction.py): allocations tried where
                the predicted front, recalibrated on what was measured, promises most; other
                fields are the sampler's
    integers    fields that take whole numbers only; None: those with whole bounds
    """

    def __init__(
        self,
        space: Space,
        objectives: Mapping[str, Direction],
        storage: str | Path | None = None,
        seed: int = 0,
        *,
        name: str = "search",
        sampler: Sampler = "auto",
        first: Sequence[Mapping[str, Value]] = (),
        prediction: Prediction | None = None,
        integers: frozenset[str] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._objectives, self._seed, self._kind = dict(objectives), seed, sampler
        self._prediction: Prediction | None = None
        self._distributions = distributions(space, integers)
        self._study = optuna.create_study(
            study_name=name,
            storage=_opened(storage),
            directions=[DIRECTIONS[direction] for direction in objectives.values()],
            load_if_exists=True,
        )
        self.enqueue(first)
        if prediction is not None:
            self.guide(prediction)

    def guide(self, prediction: Prediction) -> None:
        """From here on the predicted front says which allocations are tried."""
        self._prediction = prediction

    def agreement(self) -> dict[str, Agreement]:
        """Quality -> how far prediction and measurement agree, where there is a prediction."""
        if self._prediction is None:
            return {}
        done = [t for t in self._trials() if t.state == TrialState.COMPLETE]
        found = {}
        for at, name in enumerate(self._objectives):
            if name in self._prediction.qualities:
                values = [trial.values[at] for trial in done]
                found[name] = self._prediction.agreement(name, [t.params for t in done], values)
        return {name: agreed for name, agreed in found.items() if agreed is not None}

    def enqueue(self, first: Sequence[Mapping[str, Value]], baseline: str | None = None) -> None:
        """Values to try before any are proposed; those known already are not tried again.

        baseline  what they are called beside the proposals, kept with each trial
        """
        attributes = None if baseline is None else {BASELINE: baseline}
        for values in first:
            encoded = {field: encode(value) for field, value in values.items()}
            self._study.enqueue_trial(encoded, user_attrs=attributes, skip_if_exists=True)

    def adopt(self, values: Mapping[str, Value]) -> int | None:
        """Id of a new trial with these values of all fields, to be told what is known of it; it
        does not count. None where they were tried.
        """
        params = {name: encode(value) for name, value in values.items()}
        if self._is_duplicate(-1, params):
            return None
        self._study.enqueue_trial(params, user_attrs={FREE: True})
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        while waiting:
            trial = self._study.ask(self._distributions)
            if trial.params == params:
                return int(trial.number)
            waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        raise AssertionError(values)

    def running(self) -> list[Proposal]:
        """Trials that were asked for and never told, by id."""
        return [self._proposal(trial) for trial in self._running()]

    def told(self) -> int:
        """Number of trials that count: finished, stopped and failed ones."""
        return sum(t.state.is_finished() and not t.user_attrs.get(FREE) for t in self._trials())

    def states(self) -> dict[int, str]:
        """Trial id -> COMPLETE, PRUNED (stopped), FAIL, RUNNING or WAITING."""
        return {t.number: t.state.name for t in self._trials()}

    def values(self, trial_id: int) -> dict[str, Value]:
        """What was asked of a trial."""
        return self._proposal(self._study.get_trials(deepcopy=False)[trial_id]).values

    def reason(self, trial_id: int) -> str | None:
        """Why a trial failed or was stopped."""
        reason = self._study.get_trials(deepcopy=False)[trial_id].user_attrs.get(REASON)
        return None if reason is None else str(reason)

    def ask(self) -> Proposal | None:
        """The next trial, never one with values that were tried before; None when all were."""
        for redraw in range(MAX_REDRAWS):
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                self._study.enqueue_trial(self._suggested(at_random=redraw > 0))
            self._study.sampler = optuna.samplers.RandomSampler(seed=self._next_seed())
            trial = self._study.ask(self._distributions)
            if not self._is_duplicate(trial.number, trial.params):
                return self._proposal(self._study.get_trials(deepcopy=False)[trial.number])
            trial.set_user_attr(DUPLICATE, True)
            self._study.tell(trial.number, state=TrialState.FAIL)
        return None

    def tell(
        self,
        trial_id: int,
        outcome: Mapping[str, float] | Failure | Stopped,
        excess: Mapping[str, float] | None = None,
    ) -> None:
        """How a trial ended: a value for each objective, a Failure, or Stopped; telling it again
        changes nothing. A value that is missing or not finite is a failure.

        excess  by how much each constraint is exceeded; 0 and below is feasible
        """
        frozen = self._study.get_trials(deepcopy=False)[trial_id]
        if frozen.state.is_finished():
            return
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        if isinstance(outcome, Stopped):
            trial.set_user_attr(REASON, outcome.reason)
            trial.set_user_attr(ESTIMATE, [outcome.estimate.get(name) for name in self._objectives])
            trial.set_user_attr(FREE, outcome.free)
            for name, value in outcome.excess.items():
                trial.set_constraint(name, value)
            self._study.tell(trial_id, state=TrialState.PRUNED)
            return
        if not isinstance(outcome, Failure):
            outcome = self._checked(outcome)
        if isinstance(outcome, Failure):
            trial.set_user_attr(REASON, outcome.reason)
            self._study.tell(trial_id, state=TrialState.FAIL)
            return
        for name, value in (excess or {}).items():
            trial.set_constraint(name, value)
        self._study.tell(trial_id, [outcome[name] for name in self._objectives])

    def _checked(self, values: Mapping[str, float]) -> Mapping[str, float] | Failure:
        for name in self._objectives:
            if not math.isfinite(values.get(name, math.nan)):
                return Failure(f"{name}: value {values.get(name)}; allowed: a finite number")
        return values

    def _running(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _trials(self) -> list[FrozenTrial]:
        return [t for t in self._study.get_trials(deepcopy=False) if DUPLICATE not in t.user_attrs]

    def _is_duplicate(self, number: int, params: Mapping[str, Any]) -> bool:
        return any(
            t.number != number and t.state != TrialState.WAITING and t.params == params
            for t in self._trials()
        )

    def _proposal(self, trial: FrozenTrial) -> Proposal:
        values = {name: decoded(trial.params[name]) for name in self._distributions}
        return Proposal(trial.number, values)

    def _suggested(self, at_random: bool) -> dict[str, Any]:
        seed = self._next_seed()
        kind = "random" if at_random else self._kind
        guided = {}
        if self._prediction is not None and not at_random:
            guided = self._predicted(self._prediction, seed)
        open_fields = {n: d for n, d in self._distributions.items() if n not in guided}
        if not open_fields:
            return guided
        past = [
            *self._past(),
            *self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)),
        ]
        free = suggest(kind, seed, past, self._study.directions, self._distributions)
        return {**free, **guided}

    def _next_seed(self) -> int:
        """By how many trials there are, so that a resumed search proposes what an uninterrupted one
        would have.
        """
        return (self._seed * GROUND + len(self._study.get_trials(deepcopy=False))) % 2**31

    def _predicted(self, prediction: Prediction, seed: int) -> dict[str, float]:
        """The guided fields of the next trial."""
        past = self._past()
        tried, underway = ([t.params for t in trials] for trials in (past, self._running()))
        values = {
            name: [trial.values[at] for trial in past] for at, name in enumerate(self._objectives)
        }
        return propose(prediction, tried, values, underway, np.random.default_rng(seed))

    def _past(self) -> list[FrozenTrial]:
        """Finished trials, and stopped ones at their estimate."""
        found = []
        for trial in self._trials():
            estimate = trial.user_attrs.get(ESTIMATE, [None])
            if trial.state == TrialState.COMPLETE:
                found.append(trial)
            elif trial.state == TrialState.PRUNED and None not in estimate:
                found.append(
                    optuna.trial.create_trial(
                        values=estimate,
                        params=trial.params,
                        distributions=trial.distributions,
                        constraints=trial.constraints,
                    )
                )
        return found


def distributions(
    space: Space, integers: frozenset[str] | None = None
) -> dict[str, BaseDistribution]:
    """Optuna's form of the space."""
    found: dict[str, BaseDistribution] = {}
    for name, dimension in space.items():
        if not isinstance(dimension, Range):
            found[name] = CategoricalDistribution([encode(c) for c in dimension.choices])
        elif name in integers if integers is not None else dimension.is_whole():
            found[name] = IntDistribution(int(dimension.low), int(dimension.high), dimension.log)
        else:
            found[name] = FloatDistribution(dimension.low, dimension.high, dimension.log)
    return found


def encode(value: Value) -> Any:
    """A whole spec as the one-line JSON that Optuna can hold; anything else as it is."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def decoded(value: Any) -> Value:
    """What `encode` made of a value, undone."""
    if isinstance(value, str) and value.startswith("{"):
        loaded: dict[str, Any] = json.loads(value)
        return loaded
    return value


def _opened(storage: str | Path | None) -> BaseStorage | str | None:
    """What Optuna takes. A journal's lock that a killed process left behind goes: whoever opens it
    here is alone (the driver's own lock sees to that).
    """
    if storage is None or "://" in str(storage):
        return None if storage is None else str(storage)
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.lock")
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
