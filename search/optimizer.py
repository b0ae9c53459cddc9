"""Optuna proposes trials; its journal file is the truth of what was asked and told.

Nothing else holds state: re-opening the journal after any crash goes on where it stopped. A trial's
id is its Optuna number.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.objectives import OBJECTIVES, violations
from search.space import Range, Space, Value, is_integer, value_of
from search.sweep_file import Sweep
from search.trial_spec import TrialResult, TrialSpec

DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
REASON, DUPLICATE = "reason", "duplicate"
LADDER_RUNGS = 6
STARTUP_TRIALS = 10
MAX_REDRAWS = 50


@dataclass(frozen=True)
class Proposal:
    """What to try: the trial's id and a value for each dotted field of the space."""

    trial_id: int
    values: dict[str, Value]


class Optimizer:
    """Asks and tells one multi-objective study, kept in `storage`."""

    def __init__(self, sweep: Sweep, storage: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep = sweep
        self._distributions = distributions(sweep.trial, sweep.space)
        storage.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(storage))
        with contextlib.suppress(FileNotFoundError):  # of a driver that was killed holding it
            os.unlink(f"{storage}.lock")
        self._study = optuna.create_study(
            study_name=sweep.name,
            storage=JournalStorage(JournalFileBackend(str(storage), lock_obj=lock)),
            directions=[DIRECTIONS[OBJECTIVES[o].direction] for o in sweep.objectives],
            load_if_exists=True,
        )
        for rung in ladder(sweep):
            self._study.enqueue_trial(rung, skip_if_exists=True)

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

    def tell(self, trial_id: int, result: TrialResult) -> None:
        """The objectives' values of a finished trial; telling it again changes nothing."""
        frozen = self._study.get_trials(deepcopy=False)[trial_id]
        if frozen.state.is_finished():
            return
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        for name, excess in violations(result, self._sweep.constraints).items():
            trial.set_constraint(name, excess)
        values = [OBJECTIVES[o].function(result) for o in self._sweep.objectives]
        self._study.tell(trial_id, values)

    def tell_failure(self, trial_id: int, reason: str) -> None:
        """A trial that gave no result."""
        frozen = self._study.get_trials(deepcopy=False)[trial_id]
        if frozen.state.is_finished():
            return
        optuna.trial.Trial(self._study, frozen._trial_id).set_user_attr(REASON, reason)
        self._study.tell(trial_id, state=TrialState.FAIL)

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
        """A fresh one each time, seeded by how many trials there are, so that a resumed sweep
        proposes what an uninterrupted one would have.
        """
        seed = (self._sweep.seed * 1_000_003 + len(self._study.get_trials(deepcopy=False))) % 2**31
        kind = "random" if at_random else self._sweep.sampler
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        if kind == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)


def distributions(spec: TrialSpec, space: Space) -> dict[str, BaseDistribution]:
    """Optuna's form of the space."""
    found: dict[str, BaseDistribution] = {}
    for name, dimension in space.items():
        if not isinstance(dimension, Range):
            found[name] = CategoricalDistribution([_encoded(c) for c in dimension.choices])
        elif is_integer(spec, name, dimension):
            found[name] = IntDistribution(int(dimension.low), int(dimension.high), dimension.log)
        else:
            found[name] = FloatDistribution(dimension.low, dimension.high, dimension.log)
    return found


def ladder(sweep: Sweep) -> list[dict[str, Value]]:
    """Uniform allocations, dense to sparse, tried first: what anybody would try by hand.

    Every range under `allocation.` stands at the same fraction of its width; other fields keep the
    sweep file's own value, if the space allows it.
    """
    ranges = {
        name: dimension
        for name, dimension in sweep.space.items()
        if name.startswith("allocation.per_") and isinstance(dimension, Range)
    }
    rungs = min(LADDER_RUNGS, max(1, sweep.trials // 4))
    if not ranges:
        return []
    steps = [1 - (1 - i / max(1, rungs - 1)) ** 1.5 for i in range(rungs)]
    others = _own_values(sweep)
    return [
        {**others, **{name: r.low + step * (r.high - r.low) for name, r in ranges.items()}}
        for step in steps
    ]


def _own_values(sweep: Sweep) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, distribution in distributions(sweep.trial, sweep.space).items():
        value = _encoded(value_of(sweep.trial, name))
        with contextlib.suppress(ValueError, TypeError):
            if distribution._contains(distribution.to_internal_repr(value)):
                values[name] = value
    return values


def _encoded(value: Value) -> Any:
    """A whole spec as the one-line JSON that Optuna can hold; anything else as it is."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def _decoded(value: Any) -> Value:
    if isinstance(value, str) and value.startswith("{"):
        decoded: dict[str, Any] = json.loads(value)
        return decoded
    return value


@contextlib.contextmanager
def _one_thread() -> Any:
    """GP fits give the same bits whatever the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
