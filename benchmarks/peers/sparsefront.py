"""Ours as a sweep runs it: uniform allocations first, a GP, from 150 trials on NSGA-II."""

from __future__ import annotations

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.search_quality import searched

PACKAGE = "optuna"  # whose sampler it is


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    return searched(problem, "auto", trials, seed, noise)
