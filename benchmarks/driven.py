"""The allocation problem searched with our optimizer, told noisy losses."""

from __future__ import annotations

import numpy as np

from benchmarks.allocation_problem import Floats, Problem
from sparsefront.search.optimizer.ask_and_tell import Optimizer


def searched_with(
    optimizer: Optimizer, layers: list[str], problem: Problem, trials: int, seed: int, noise: float
) -> Floats:
    """True values [trials, 2] of what was tried; the search is told the noisy loss."""
    random = np.random.default_rng([seed, 7])
    found = []
    for _ in range(trials):
        proposal = optimizer.ask()
        assert proposal is not None
        values = problem.values(np.array([proposal.values[name] for name in layers], float))
        found.append(values)
        loss, cost = values + [noise * random.normal(), 0.0]
        optimizer.tell(proposal.trial_id, {"loss": float(loss), "cost": float(cost)})
    return np.array(found)
