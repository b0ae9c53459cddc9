"""Syne Tune's multi-objective regularized evolution. Population 20, not its default 100, with which
the first 100 trials are random.
"""

from __future__ import annotations

from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.peers.syne_ask_tell import searched, space
from benchmarks.peers.tried import Tried

PACKAGE = "syne-tune"
POPULATION = 20


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    tried = Tried(problem, seed, noise)
    searcher = MultiObjectiveRegularizedEvolution(
        space(tried.layers), population_size=POPULATION, random_seed=seed
    )
    return searched(searcher, tried, trials, seed)
