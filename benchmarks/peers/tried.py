"""What a method tried: it is told the loss with noise, the true values are kept."""

from __future__ import annotations

import numpy as np

from benchmarks.allocation_problem import MOST, Floats, Problem


class Tried:
    """One run of a method on a problem; the noise (standard deviation of the loss) is by seed."""

    def __init__(self, problem: Problem, seed: int, noise: float) -> None:
        self.layers = [f"s{i:02d}" for i in range(len(problem.a))]
        self._problem, self._noise = problem, noise
        self._random = np.random.default_rng([seed, 7])
        self._values: list[Floats] = []

    def measure(self, sparsities: Floats) -> Floats:
        """Loss with noise and cost [2] of sparsities [n] in [0, MOST]."""
        assert ((sparsities >= 0) & (sparsities <= MOST)).all(), sparsities
        values = self._problem.values(sparsities)
        self._values.append(values)
        return values + [self._noise * self._random.normal(), 0.0]

    def values(self) -> Floats:
        """True loss and cost [trials, 2], in the order of trial."""
        return np.array(self._values)
