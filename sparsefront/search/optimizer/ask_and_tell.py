"""Optuna proposes, anybody evaluates: ask and tell for several objectives.

Optuna's storage is the truth of which trials were requested and how they ended, and nothing else
holds state: re-opening it after any crash goes on where it stopped. A trial's id is its Optuna
number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsFloat, get_args

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from sparsefront.errors import InputError
from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.space import Choices, Range, Value
from sparsefront.search.config.strict_yaml import closest
from sparsefront.search.optimizer.diagonal import POINTS, diagonal
from sparsefront.search.optimizer.distributions import (
    check_values,
    decode,
    distributions,
    encode,
    first_untried,
    space_of,
)
from sparsefront.search.optimizer.past import ESTIMATE, FREE, SKIPPED, as_samplers_want
from sparsefront.search.optimizer.prediction import LossPrediction, propose
from sparsefront.search.optimizer.samplers import Sampler, suggest
from sparsefront.search.optimizer.study import DIRECTIONS, Direction, open_study
from sparsefront.search.optimizer.told import Told, as_table

if TYPE_CHECKING:
    import pandas as pd

Dimension = Range | Choices | Mapping[str, Any] | tuple[float, float]
REASON, DUPLICATE = "reason", "duplicate"
BASELINE = "baseline"
FIXED = "fixed_params"
"""Where Optuna keeps the values that a trial was enqueued with."""
MAX_REDRAWS = 50
SEED_STRIDE = 1_000_003
"""A prime above any number of trials, so that searches of neighbouring seeds share no seed."""


class Proposal(NamedTuple):
    """What to try: the trial's id and a value for each field of the space."""

    trial_id: int
    values: dict[str, Value]


class Optimizer:
    """Asks and tells one multi-objective study.

    space       what each field may be: a Range or Choices, or as in a sweep file {low, high[, log]}
                or {choices: [...]}, or (low, high)
    objectives  name -> whether it should be large ("max") or small ("min")
    storage     a file (Optuna's journal), a database URI (sqlite:///..., postgresql://...), or
                None: this process alone
    sampler     "auto": a Gaussian process up to 150 trials, then NSGA-II
    first       values tried before any are proposed; fields left out are drawn at random. None:
                where nothing is predicted, four of "auto" and "gp" along the ranges
                (diagonal.py), which are the uniform ones of a space of sparsities
    prediction  what importance scores predict (prediction.py): allocations tried where
                the predicted front, recalibrated on what was measured, promises most; other
                fields are the sampler's
    integers    fields that take whole numbers only; None: those with whole bounds

    InputError in one line for anything else.
    """

    def __init__(
        self,
        space: Mapping[str, Dimension],
        objectives: Mapping[str, Direction],
        storage: str | Path | None = None,
        seed: int = 0,
        *,
        name: str = "search",
        sampler: Sampler = "auto",
        first: Sequence[Mapping[str, Value]] | None = None,
        prediction: LossPrediction | None = None,
        integers: frozenset[str] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        _check(objectives, sampler, seed)
        self._objectives, self._seed, self._kind = dict(objectives), seed, sampler
        self._prediction: LossPrediction | None = None
        self._follows = False
        self._distributions = distributions(space_of(space), integers)
        if first is None:
            alone = sampler in ("auto", "gp") and prediction is None
            first = diagonal(self._distributions, POINTS) if alone else ()
        for values in first:
            check_values(values, self._distributions, "first")
        self._study = open_study(storage, name, objectives, self._distributions)
        self.enqueue(first)
        if prediction is not None:
            self.guide(prediction)

    def guide(self, prediction: LossPrediction, follows: bool = True) -> None:
        """From here on the predicted front says which allocations are tried, or, where it is not
        followed, is only compared with what is measured. InputError where it is about other fields
        or values than the search, or, to be followed, other objectives.
        """
        for name, (low, high) in prediction.proposed().items():
            for value in (low, high):
                check_values({name: value}, self._distributions, "prediction")
        if follows and set(prediction.worst) != set(self._objectives):
            raise InputError(
                f"prediction.worst: of {', '.join(prediction.worst)}; allowed: of each objective, "
                f"{', '.join(self._objectives)}"
            )
        self._prediction, self._follows = prediction, follows

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
        """Id of a new trial with these values of all fields, whose end is known already; it does
        not count. None where they were tried. One that was adopted and never ended is the same
        trial again.
        """
        params = {name: encode(value) for name, value in values.items()}
        for trial in self._running():
            if trial.user_attrs.get(FREE) and trial.params == params:
                return trial.number
        if self._is_duplicate(-1, params):
            return None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self._distributions,
                user_attrs={FREE: True},
            )
        )
        return next(t.number for t in reversed(self._running()) if t.params == params)

    def running(self) -> list[Proposal]:
        """Trials that were proposed and have not ended, by id. One that was lost while it was
        proposed, with some of its values stored, nobody knows of: its values are tried later.
        """
        for trial in self._running():
            if trial.params.keys() < self._distributions.keys():
                values, attributes = trial.system_attrs.get(FIXED), dict(trial.user_attrs)
                optuna.trial.Trial(self._study, trial._trial_id).set_user_attr(DUPLICATE, True)
                self._study.tell(trial.number, state=TrialState.FAIL)
                if values is not None:
                    self._study.enqueue_trial(values, user_attrs=attributes)
        return [self._proposal(trial) for trial in self._running()]

    def num_finished(self) -> int:
        """Number of trials that count: finished, stopped and failed ones."""
        return sum(t.state.is_finished() and not t.user_attrs.get(FREE) for t in self._trials())

    def states(self) -> dict[int, str]:
        """Trial id -> COMPLETE, PRUNED (stopped), FAIL, RUNNING or WAITING."""
        return {t.number: t.state.name for t in self._trials()}

    def values(self, trial_id: int) -> dict[str, Value]:
        """The values that were proposed for a trial."""
        return self._proposal(self._requested(trial_id)).values

    def trials(self) -> list[Told]:
        """Every trial that was asked for, in order."""
        return [self._told(t) for t in self._trials() if t.state != TrialState.WAITING]

    def front(self) -> list[Told]:
        """The finished trials that no other beats, among those that meet the constraints."""
        best = {trial.number for trial in self._study.best_trials}
        return [told for told in self.trials() if told.trial_id in best]

    def to_pandas(self) -> pd.DataFrame:
        """A row a trial: its id, state, values, objectives (not a number where there are none),
        whether it is on the front, and why it ended early.
        """
        return as_table(self.trials(), self.front(), list(self._objectives))

    def reason(self, trial_id: int) -> str | None:
        """Why a trial failed or was stopped."""
        reason = self._requested(trial_id).user_attrs.get(REASON)
        return None if reason is None else str(reason)

    def ask(self) -> Proposal | None:
        """The next trial, never one with values that were tried before; None when all were."""
        redraws = 0
        while True:
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                values = self._drawn(redraws)
                if values is None:
                    return None
                self._study.enqueue_trial(values)
                redraws += 1
            self._study.sampler = optuna.samplers.RandomSampler(seed=self._next_seed())
            trial = self._study.ask(self._distributions)
            if not self._is_duplicate(trial.number, trial.params):
                return self._proposal(self._study.get_trials(deepcopy=False)[trial.number])
            trial.set_user_attr(DUPLICATE, True)
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _drawn(self, redraws: int) -> dict[str, Any] | None:
        """From the sampler, then at random; after many draws of what was tried, the first that was
        not; None where there is none.
        """
        if redraws < MAX_REDRAWS:
            return self._suggested(at_random=redraws > 0)
        tried = [t.params for t in self._trials() if t.state != TrialState.WAITING]
        return first_untried(self._distributions, tried) if redraws == MAX_REDRAWS else None

    def tell(
        self,
        trial_id: int,
        values: Mapping[str, float],
        excess: Mapping[str, float] | None = None,
    ) -> None:
        """A trial has finished, with a value for each objective; one that is missing or not finite
        makes it a failed trial. Telling how a trial ended again changes nothing. InputError for an
        id that was never proposed.

        excess  by how much each constraint is exceeded; 0 and below is feasible
        """
        trial = self._open_trial(trial_id)
        if trial is None:
            return
        if not isinstance(values, Mapping):
            raise InputError(
                f"tell: value {values!r}; allowed: a number for each of "
                f"{', '.join(self._objectives)}; tell_failed and tell_stopped for other ends"
            )
        for name in self._objectives:
            value = values.get(name)
            if not isinstance(value, SupportsFloat) or not math.isfinite(value):
                reason = f"{name}: value {value}; allowed: a finite number"
                return self.tell_failed(trial_id, reason)
        for name, amount in (excess or {}).items():
            trial.set_constraint(name, amount)
        self._study.tell(trial_id, [values[name] for name in self._objectives])

    def tell_failed(self, trial_id: int, reason: str) -> None:
        """A trial gave no result."""
        trial = self._open_trial(trial_id)
        if trial is not None:
            trial.set_user_attr(REASON, reason)
            self._study.tell(trial_id, state=TrialState.FAIL)

    def tell_stopped(
        self,
        trial_id: int,
        reason: str,
        estimate: Mapping[str, float] | None = None,
        excess: Mapping[str, float] | None = None,
        *,
        free: bool = False,
    ) -> None:
        """A trial was ended before its full fidelity. It is never on the front.

        estimate  the objectives that it would have had, for the sampler to learn from
        excess    by how much each constraint is exceeded
        free      it cost nothing, and does not count as a trial
        """
        trial = self._open_trial(trial_id)
        if trial is None:
            return
        known = {n: v for n, v in (estimate or {}).items() if math.isfinite(v)}
        trial.set_user_attr(REASON, reason)
        trial.set_user_attr(ESTIMATE, [known.get(name) for name in self._objectives])
        trial.set_user_attr(FREE, free)
        for name, amount in (excess or {}).items():
            trial.set_constraint(name, amount)
        self._study.tell(trial_id, state=TrialState.PRUNED)

    def _open_trial(self, trial_id: int) -> optuna.trial.Trial | None:
        """Of a proposed trial that has not ended; None for one that has."""
        frozen = self._requested(trial_id)
        if frozen.state.is_finished():
            return None
        return optuna.trial.Trial(self._study, frozen._trial_id)

    def _requested(self, trial_id: int) -> FrozenTrial:
        """InputError for a trial that was never proposed."""
        trials = self._study.get_trials(deepcopy=False)
        if trial_id in range(len(trials)) and trials[trial_id].state != TrialState.WAITING:
            return trials[trial_id]
        last = max((t.number for t in trials if t.state != TrialState.WAITING), default=None)
        ids = "none yet" if last is None else f"0 to {last}"
        raise InputError(f"trial id: value {trial_id!r}; allowed: those that ask() gave, {ids}")

    def _running(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _trials(self) -> list[FrozenTrial]:
        return [t for t in self._study.get_trials(deepcopy=False) if DUPLICATE not in t.user_attrs]

    def _is_duplicate(self, number: int, params: Mapping[str, Any]) -> bool:
        known = self._identity(params)
        return any(
            t.number != number
            and t.state != TrialState.WAITING
            and self._identity(t.params) == known
            for t in self._trials()
        )

    def _identity(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a trial is, where several values stand for one allocation."""
        if self._prediction is None or params.keys() < self._distributions.keys():
            return params
        return self._prediction.identity(params)

    def _told(self, trial: FrozenTrial) -> Told:
        values = trial.values if trial.state == TrialState.COMPLETE else []
        reason = trial.user_attrs.get(REASON)
        return Told(
            trial.number, trial.state.name, self._proposal(trial).values,
            dict(zip(self._objectives, values, strict=False)),
            None if reason is None else str(reason),
        )  # fmt: skip

    def _proposal(self, trial: FrozenTrial) -> Proposal:
        values = {name: decode(trial.params[name]) for name in self._distributions}
        return Proposal(trial.number, values)

    def _suggested(self, at_random: bool) -> dict[str, Any]:
        seed = self._next_seed()
        kind = "random" if at_random else self._kind
        guided = {}
        if self._prediction is not None and self._follows and not at_random:
            guided = self._predicted(self._prediction, seed)
        open_fields = {n: d for n, d in self._distributions.items() if n not in guided}
        if not open_fields:
            return guided
        past = [*self._past(), *self._running()]
        free = suggest(kind, seed, past, self._study.directions, self._distributions)
        return {**free, **guided}

    def _next_seed(self) -> int:
        """By how many trials there are, so that a resumed search proposes what an uninterrupted one
        would have.
        """
        return (self._seed * SEED_STRIDE + len(self._study.get_trials(deepcopy=False))) % 2**31

    def _predicted(self, prediction: LossPrediction, seed: int) -> dict[str, float]:
        """The guided fields of the next trial. Of those that were never trained only the costs are
        known.
        """
        past = [trial for trial in self._past() if not trial.user_attrs.get(SKIPPED)]
        skipped = [
            trial
            for trial in self._trials()
            if trial.state == TrialState.PRUNED and trial.user_attrs.get(FREE)
        ]
        tried, underway = ([t.params for t in s] for s in (past, [*skipped, *self._running()]))
        values = {
            name: [trial.values[at] for trial in past] for at, name in enumerate(self._objectives)
        }
        return propose(prediction, tried, values, underway, np.random.default_rng(seed))

    def _past(self) -> list[FrozenTrial]:
        return as_samplers_want(self._trials())


def _check(objectives: Mapping[str, Direction], sampler: str, seed: int) -> None:
    """InputError in one line, with what is allowed."""
    if not isinstance(objectives, Mapping) or not objectives:
        raise InputError(f'objectives: value {objectives!r}; allowed: {{name: "max" or "min"}}')
    for name, direction in objectives.items():
        if direction not in DIRECTIONS:
            raise InputError(f"objectives.{name}: value {direction!r}; allowed: max, min")
    if sampler not in get_args(Sampler):
        names = list(get_args(Sampler))
        near = closest(str(sampler), names)
        raise InputError(f"sampler: value {sampler!r}{near}; allowed: {', '.join(names)}")
    if not isinstance(seed, int):
        raise InputError(f"seed: value {seed!r}; allowed: a whole number")
