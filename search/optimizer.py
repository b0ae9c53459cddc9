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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optuna
import torch
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

from search.space import Range, Space, Value

Direction = Literal["max", "min"]
Sampler = Literal["gp", "tpe", "nsga2", "random"]
DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
REASON, DUPLICATE = "reason", "duplicate"
STARTUP_TRIALS = 10
MAX_REDRAWS = 50


class Proposal(NamedTuple):
    """What to try: the trial's id and a value for each field of the space."""

    trial_id: int
    values: dict[str, Value]


@dataclass(frozen=True)
class Failure:
    """A trial that gave no result, and why."""

    reason: str


class Optimizer:
    """Asks and tells one multi-objective study.

    space       what each field may be
    objectives  name -> whether it should be large or small
    storage     a file (Optuna's journal), a database URI (sqlite:///..., postgresql://...), or
                None: this process alone
    first       values tried before any are proposed; fields left out are the sampler's
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
        sampler: Sampler = "gp",
        first: Sequence[Mapping[str, Value]] = (),
        integers: frozenset[str] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._objectives, self._seed, self._kind = dict(objectives), seed, sampler
        self._distributions = distributions(space, integers)
        self._study = optuna.create_study(
            study_name=name,
            storage=_opened(storage),
            directions=[DIRECTIONS[direction] for direction in objectives.values()],
            load_if_exists=True,
        )
        self.enqueue(first)

    def enqueue(self, first: Sequence[Mapping[str, Value]]) -> None:
        """Values to try before any are proposed; those known already are not tried again."""
        for values in first:
            encoded = {field: encode(value) for field, value in values.items()}
            self._study.enqueue_trial(encoded, skip_if_exists=True)

    def running(self) -> list[Proposal]:
        """Trials that were asked for and never told, by id."""
        found = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [self._proposal(trial) for trial in found]

    def told(self) -> int:
        """Number of trials that count: finished and failed ones."""
        return len([t for t in self._trials() if t.state.is_finished()])

    def states(self) -> dict[int, str]:
        """Trial id -> COMPLETE, FAIL, RUNNING or WAITING."""
        return {t.number: t.state.name for t in self._trials()}

    def values(self, trial_id: int) -> dict[str, Value]:
        """What was asked of a trial."""
        return self._proposal(self._study.get_trials(deepcopy=False)[trial_id]).values

    def reason(self, trial_id: int) -> str | None:
        """Why a trial failed."""
        reason = self._study.get_trials(deepcopy=False)[trial_id].user_attrs.get(REASON)
        return None if reason is None else str(reason)

    def ask(self) -> Proposal | None:
        """The next trial, never one with values that were tried before; None when all were."""
        for redraw in range(MAX_REDRAWS):
            with _one_thread():
                self._study.sampler = self._sampler(at_random=redraw > 0)
                trial = self._study.ask(self._distributions)
            if not self._is_duplicate(trial.number, trial.params):
                return self._proposal(self._study.get_trials(deepcopy=False)[trial.number])
            trial.set_user_attr(DUPLICATE, True)
            self._study.tell(trial.number, state=TrialState.FAIL)
        return None

    def tell(
        self,
        trial_id: int,
        outcome: Mapping[str, float] | Failure,
        excess: Mapping[str, float] | None = None,
    ) -> None:
        """How a trial ended: a value for each objective, or a Failure; telling again changes
        nothing. A value that is missing or not finite is a failure.

        excess  by how much each constraint is exceeded; 0 and below is feasible
        """
        frozen = self._study.get_trials(deepcopy=False)[trial_id]
        if frozen.state.is_finished():
            return
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
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

    def _trials(self) -> list[FrozenTrial]:
        return [t for t in self._study.get_trials(deepcopy=False) if DUPLICATE not in t.user_attrs]

    def _is_duplicate(self, number: int, params: Mapping[str, Any]) -> bool:
        return any(
            t.number != number and t.state != TrialState.WAITING and t.params == params
            for t in self._trials()
        )

    def _proposal(self, trial: FrozenTrial) -> Proposal:
        values = {name: _decoded(trial.params[name]) for name in self._distributions}
        return Proposal(trial.number, values)

    def _sampler(self, at_random: bool) -> optuna.samplers.BaseSampler:
        """A fresh one each time, seeded by how many trials there are, so that a resumed search
        proposes what an uninterrupted one would have.
        """
        seed = (self._seed * 1_000_003 + len(self._study.get_trials(deepcopy=False))) % 2**31
        kind = "random" if at_random else self._kind
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        if kind == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


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


def _decoded(value: Any) -> Value:
    if isinstance(value, str) and value.startswith("{"):
        decoded: dict[str, Any] = json.loads(value)
        return decoded
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


@contextlib.contextmanager
def _one_thread() -> Any:
    """GP fits give the same bits whatever the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
