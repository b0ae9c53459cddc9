"""The optimizer of a sweep: its space, its objectives, and what is tried first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sparsefront.search.config.objectives import violations
from sparsefront.search.config.space import Choices, Range, Value, is_integer, value_of, with_values
from sparsefront.search.config.sweep_file import PATHS, TRADE_OFF, Sweep, searched_sparsities
from sparsefront.search.config.trial_result import TrialEnd, TrialResult
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.diagonal import POINTS, diagonal
from sparsefront.search.optimizer.distributions import contains, distributions
from sparsefront.search.optimizer.stopped_estimate import estimate_stopped


def optimizer_of(sweep: Sweep, storage: Path | str, study: str | None = None) -> Optimizer:
    """Opened on `storage`, new or as it was left; study: its name there, None: the sweep's."""
    known = sweep.known_objectives()
    return Optimizer(
        sweep.space, {name: known[name].direction for name in sweep.objectives}, storage,
        sweep.seed, name=study or sweep.name,
        sampler="auto" if sweep.sampler == "predicted" else sweep.sampler,
        first=initial_grid(sweep) if "uniform" in first_of(sweep) else (),
        integers=integers(sweep),
    )  # fmt: skip


def tell_end(
    optimizer: Optimizer, sweep: Sweep, end: TrialEnd, finished: Sequence[TrialResult] = ()
) -> None:
    """Tells the optimizer how a trial ended: the objectives and constraints of a finished one; of
    a stopped one those that it would have reached, by what `finished` trials gained.
    """
    known = sweep.known_objectives()
    if end.status == "failed":
        optimizer.tell_failed(end.trial_id, end.reason)
    elif end.status == "stopped":
        estimate, exceeded = estimate_stopped(
            end, sweep.objectives, sweep.constraints, finished, known
        )
        optimizer.tell_stopped(end.trial_id, end.reason, estimate, exceeded, free=end.is_free)
    else:
        assert end.result is not None
        values = {name: known[name].function(end.result) for name in sweep.objectives}
        optimizer.tell(end.trial_id, values, violations(end.result, sweep.constraints))


def first_of(sweep: Sweep) -> list[str]:
    """What is tried before any proposal, beside a predicted front."""
    if sweep.first is not None:
        return list(sweep.first)
    if sweep.sampler == "predicted":
        return []
    return ["predicted"] if TRADE_OFF in sweep.space else ["uniform"]


def integers(sweep: Sweep) -> frozenset[str]:
    """Fields of the space that are whole numbers in the trial."""
    return frozenset(
        name
        for name, dimension in sweep.space.items()
        if isinstance(dimension, Range) and is_integer(sweep.trial, name, dimension)
    )


def initial_grid(sweep: Sweep) -> list[dict[str, Value]]:
    """Uniform allocations, dense to sparse, tried first: what anybody would try by hand.

    Every range under `allocation.` stands at the same fraction of its width; other fields keep the
    sweep file's own value, if the space allows it.
    """
    ranges = distributions(searched_sparsities(sweep), integers(sweep))
    others = own_values(sweep)
    return [{**others, **values} for values in diagonal(ranges, num_initial(sweep))]


def num_initial(sweep: Sweep) -> int:
    """How many allocations are tried first, of a kind."""
    return min(POINTS, max(1, sweep.trials // 4))


def own_values(sweep: Sweep) -> dict[str, Value]:
    """Fields as the sweep's own trial has them, where the space allows that value."""
    own = {name: searched_value(sweep, name, value_of(sweep.trial, name)) for name in sweep.space}
    return {name: value for name, value in own.items() if is_allowed(sweep, name, value)}


def searched_value(sweep: Sweep, name: str, value: Value) -> Value:
    """The choice that stands for this value: a trial has whole specs, choices may leave out what
    is as by default; one path may be written in several ways.
    """
    dimension = sweep.space[name]
    for choice in dimension.choices if isinstance(dimension, Choices) else ():
        if name.endswith(PATHS) and _same_path(choice, value):
            return choice
        if not isinstance(choice, dict) or not isinstance(value, dict):
            continue
        if value_of(with_values(sweep.trial, {name: choice}), name) == value:
            return choice
    return value


def _same_path(one: Value, other: Value) -> bool:
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    return os.path.abspath(one) == os.path.abspath(other)


def is_allowed(sweep: Sweep, name: str, value: Value) -> bool:
    """Whether the space allows this value of a field."""
    field = {name: sweep.space[name]}
    return contains(distributions(field, integers(sweep))[name], value)
