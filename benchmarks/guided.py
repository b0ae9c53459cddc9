"""The analytic problem searched along a predicted front whose scores are wrong."""

from __future__ import annotations

import numpy as np

from benchmarks.allocation_problem import MOST, Floats, Problem
from benchmarks.driven import searched_with
from sparsefront.pruning.predicted_front import GroupCurve
from sparsefront.search.config.space import Range
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.prediction import LossPrediction

STEPS = 40


def guess(problem: Problem, seed: int, sigma: float) -> LossPrediction:
    """What scores would predict: each layer's loss wrong by a factor e^N(0, sigma)."""
    factors = np.exp(np.random.default_rng([seed, 11]).normal(0, sigma, len(problem.a)))
    grid = np.linspace(0, MOST, STEPS)
    curves = {
        f"s{i:02d}": GroupCurve(sparsities=grid, loss=a * f * grid**p, saved=c * grid)
        for i, (a, f, p, c) in enumerate(zip(problem.a, factors, problem.p, problem.c, strict=True))
    }
    return LossPrediction(
        curves=curves, cost="cost", dense=1.0, unit=1.0, worst={"loss": 1.0, "cost": 1.0},
        best={"loss": 0.0, "cost": 0.0},
    )  # fmt: skip


def searched(
    problem: Problem, trials: int, seed: int, noise: float, prediction: LossPrediction
) -> Floats:
    """True values [trials, 2] of what was tried; the search is told the noisy loss."""
    layers = list(prediction.curves)
    optimizer = Optimizer(
        {name: Range(low=0.0, high=MOST) for name in layers}, {"loss": "min", "cost": "min"},
        None, seed, prediction=prediction,
    )  # fmt: skip
    return searched_with(optimizer, layers, problem, trials, seed, noise)
