"""Ours as a sweep runs it: uniform allocations first, a GP, from 150 trials on NSGA-II."""

from __future__ import annotations

from benchmarks.allocation_problem import MOST, Floats, Problem
from benchmarks.driven import searched_with
from sparsefront.search.config.space import Range
from sparsefront.search.optimizer.ask_and_tell import Optimizer

PACKAGE = "optuna"  # whose sampler it is


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried; the sampler is told the noisy loss."""
    layers = [f"s{i:02d}" for i in range(len(problem.a))]
    optimizer = Optimizer(
        {name: Range(low=0.0, high=MOST) for name in layers}, {"loss": "min", "cost": "min"},
        None, seed,
    )  # fmt: skip
    return searched_with(optimizer, layers, problem, trials, seed, noise)
