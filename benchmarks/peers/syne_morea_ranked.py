"""Syne Tune's evolution, repaired: version 0.16 scores its population by the order of the
non-dominated sort where it means the rank in it, so (3, 3), (1, 1), (2, 2) get 1, 2, 0.
"""

from __future__ import annotations

import numpy as np
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import (
    NonDominatedPriority,
)

from benchmarks.allocation_problem import Floats, Problem
from benchmarks.peers.syne_morea import evolved
from benchmarks.peers.tried import Tried

PACKAGE = "syne-tune"


class Ranks(NonDominatedPriority):
    """Rank [K] of objectives [K, 2] in the non-dominated sort."""

    def priority_unsafe(self, objectives: Floats) -> Floats:
        return np.argsort(super().priority_unsafe(objectives))


def search(problem: Problem, trials: int, seed: int, noise: float) -> Floats:
    """True values [trials, 2] of what was tried."""
    return evolved(Tried(problem, seed, noise), trials, seed, Ranks())
