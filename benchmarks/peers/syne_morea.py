"""Syne Tune's multi-objective regularized evolution. Population 20, not its default 100, with which
the first 100 trials are random.
"""

from __future__ import annotations

from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import (
    MOPriority,
    NonDominatedPriority,
)

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.peers.syne_ask_tell import searched, space
from benchmarks.peers.tried import Tried

PACKAGE = "syne-tune"
POPULATION = 20


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    return evolved(Tried(problem, seed, noise), trials, seed, NonDominatedPriority())


def evolved(tried: Tried, trials: int, seed: int, priority: MOPriority) -> Floats:
    """True values [trials, 2]; parents are those of least priority."""
    searcher = MultiObjectiveRegularizedEvolution(
        space(tried.layers),
        population_size=POPULATION,
        multiobjective_priority=priority,
        random_seed=seed,
    )
    return searched(searcher, tried, trials, seed)
