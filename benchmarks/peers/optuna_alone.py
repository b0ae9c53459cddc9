"""A study of Optuna as its own users run it: nothing enqueued, one sampler throughout."""

from __future__ import annotations

import numpy as np
import optuna

from benchmarks.allocation_problem import MOST, Floats, Problem
from benchmarks.peers.tried import Tried


def searched(
    sampler: optuna.samplers.BaseSampler, problem: Problem, trials: int, seed: int, noise: float
) -> Floats:
    """True values [trials, 2] of what the sampler tried."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tried = Tried(problem, seed, noise)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        s = [trial.suggest_float(layer, 0.0, MOST) for layer in tried.layers]
        loss, cost = tried.measure(np.array(s))
        return float(loss), float(cost)

    study.optimize(objective, n_trials=trials)
    return tried.values()
