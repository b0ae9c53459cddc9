"""Optuna's Gaussian process with expected hypervolume; its first 10 trials (default) are random."""

from __future__ import annotations

import optuna

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.peers.optuna_alone import searched

PACKAGE = "optuna"


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    sampler = optuna.samplers.GPSampler(seed=seed)
    return searched(sampler, problem, trials, seed, noise)
