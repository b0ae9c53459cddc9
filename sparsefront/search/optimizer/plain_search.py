"""The optimizer around a plain function: ask, call, tell, until enough were tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsefront.errors import InputError, one_line_with_type
from sparsefront.search.config.space import Value
from sparsefront.search.optimizer.ask_and_tell import Dimension, Optimizer, Proposal
from sparsefront.search.optimizer.samplers import Sampler
from sparsefront.search.optimizer.study import Direction

Function = Callable[[dict[str, Value]], Mapping[str, float]]
"""function(values of the fields) -> a number for each objective."""


def search_function(
    objective: Function,
    space: Mapping[str, Dimension],
    objectives: Mapping[str, Direction],
    *,
    trials: int = 50,
    workers: int = 1,
    storage: str | Path | None = None,
    seed: int = 0,
    sampler: Sampler = "auto",
    first: Sequence[Mapping[str, Value]] | None = None,
    name: str = "search",
) -> Optimizer:
    """Searches the Pareto front of a function; returns the optimizer, whose `front()`, `trials()`
    and `to_pandas()` say what was found.

    objective   called with the values of a trial's fields; what it raises makes that trial a failed
                one, with the reason, and the search goes on
    space, objectives, storage, seed, sampler, first, name   as in Optimizer
    trials      that count together, with those that `storage` has already
    workers     1: in this process; more: that many at once on Ray, which is started here unless the
                process is connected to a cluster
    InputError for what cannot be used, and where every trial failed.
    """
    for field, value in (("trials", trials), ("workers", workers)):
        if value < 1:
            raise InputError(f"{field}: value {value!r}; allowed: 1 and above")
    optimizer = Optimizer(space, objectives, storage, seed, name=name, sampler=sampler, first=first)
    if workers == 1:
        _here(objective, optimizer, trials)
    else:
        _on_ray(objective, optimizer, trials, workers)
    ended = optimizer.trials()
    if ended and not any(told.state == "COMPLETE" for told in ended):
        raise InputError(f"objective: every trial failed; the last one: {ended[-1].reason}")
    return optimizer


def _here(objective: Function, optimizer: Optimizer, trials: int) -> None:
    for proposal in optimizer.running():  # of a process that died
        _tell(optimizer, proposal, _called(objective, proposal.values))
    while optimizer.num_finished() < trials:
        asked = optimizer.ask()
        if asked is None:  # everything was tried
            return
        _tell(optimizer, asked, _called(objective, asked.values))


def _on_ray(objective: Function, optimizer: Optimizer, trials: int, workers: int) -> None:
    import logging

    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(
            address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR,
        )  # fmt: skip
    try:
        called = ray.remote(num_cpus=1)(_called)
        function = ray.put(objective)
        again = optimizer.running()
        running: dict[Any, Proposal] = {}
        while True:
            while len(running) < workers:
                wanted = optimizer.num_finished() + len(running) < trials
                proposal = again.pop() if again else optimizer.ask() if wanted else None
                if proposal is None:
                    break
                running[called.remote(function, proposal.values)] = proposal
            if not running:
                return
            done, _ = ray.wait(list(running))
            _tell(optimizer, running.pop(done[0]), ray.get(done[0]))
    finally:
        if started:
            ray.shutdown()


def _called(objective: Function, values: dict[str, Value]) -> Any:
    """What the function returned, or why it did not."""
    try:
        return objective(dict(values))
    except Exception as error:
        return one_line_with_type(error)


def _tell(optimizer: Optimizer, proposal: Proposal, found: Any) -> None:
    if isinstance(found, Mapping):
        optimizer.tell(proposal.trial_id, found)
    else:
        reason = found if isinstance(found, str) else f"returned {type(found).__name__}, no mapping"
        optimizer.tell_failed(proposal.trial_id, reason)
