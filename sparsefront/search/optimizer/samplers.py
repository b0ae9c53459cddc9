"""Values to try next, by one of Optuna's samplers, from what has been tried so far."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import moocore
import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Sampler = Literal["auto", "gp", "tpe", "nsga2", "random"]
GP_TRIALS = 150
"""Up to here a GP is affordable and far ahead (docs/benchmarks.md); "auto" is NSGA-II beyond."""
STARTUP_TRIALS = 8
POPULATION = 50


def suggest(
    kind: Sampler,
    seed: int,
    past: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    distributions: Mapping[str, BaseDistribution],
) -> dict[str, Any]:
    """Optuna's parameters of one new trial.

    past  finished trials with values, and running ones, which GP and TPE count as tried. All of
          them are NSGA-II's first generation, so that it goes on from whatever sampler came before.
    """
    finished = [trial for trial in past if trial.state == TrialState.COMPLETE]
    if kind == "auto":
        kind = "gp" if len(finished) < GP_TRIALS else "nsga2"
    if kind == "random":
        past = []
    if kind == "nsga2":
        past = [_first_generation(t) for t in _fittest(finished, directions, 4 * POPULATION)]
    with _one_thread():
        study = optuna.create_study(directions=list(directions), sampler=_sampler(kind, seed))
        study.add_trials(past)
        return dict(study.ask(dict(distributions)).params)


def _sampler(kind: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    if kind == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
    return optuna.samplers.RandomSampler(seed=seed)


def _first_generation(trial: FrozenTrial) -> FrozenTrial:
    return optuna.trial.create_trial(
        values=trial.values, params=trial.params, distributions=trial.distributions,
        constraints=trial.constraints,
        system_attrs={optuna.samplers.NSGAIISampler._get_generation_key(): 0},
    )  # fmt: skip


def _fittest(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], count: int
) -> list[FrozenTrial]:
    """Those that NSGA-II may choose parents from, in their order: feasible, of low Pareto rank."""
    if len(trials) <= count:
        return list(trials)
    signs = [1 if d == StudyDirection.MINIMIZE else -1 for d in directions]
    ranks = moocore.pareto_rank(np.array([t.values for t in trials]) * signs)
    excess = [max(0.0, *t.constraints.values()) if t.constraints else 0.0 for t in trials]
    order = sorted(range(len(trials)), key=lambda i: (excess[i], ranks[i], -i))
    return [trials[i] for i in sorted(order[:count])]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """GP fits give the same bits whatever the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
