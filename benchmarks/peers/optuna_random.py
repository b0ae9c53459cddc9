"""Random search."""

from __future__ import annotations

import optuna

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.peers.optuna_alone import searched

PACKAGE = "optuna"


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    return searched(sampler, problem, trials, seed, noise)
