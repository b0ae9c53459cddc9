"""An allocation problem whose front is known: how sparse may each of n layers be?

loss tanh(2 sum a s^p), cost sum c (1 - s), both minimised over s in [0, 0.95]^n; a, c and p are
drawn by seed. The loss is separable inside tanh, so the exact front is a sweep over one multiplier.
"""

from __future__ import annotations

from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 0.95
REFERENCE = np.array([1.0, 1.0])


@dataclass(frozen=True)
class Problem:
    """Sensitivity a, share of the cost c (each sums to 1) and exponent p of each layer [n]."""

    a: Floats
    c: Floats
    p: Floats

    @classmethod
    def drawn(cls, layers: int, seed: int) -> Problem:
        random = np.random.default_rng(seed)
        a = 10 ** random.uniform(-1.5, 0.5, layers)
        c = 10 ** random.uniform(-1.0, 0.5, layers)
        return cls(a / a.sum(), c / c.sum(), random.uniform(2, 4, layers))

    def values(self, s: Floats) -> Floats:
        """Loss and cost [..., 2] of sparsities [..., n]."""
        loss = np.tanh(2 * (self.a * s**self.p).sum(-1))
        return np.stack([loss, (self.c * (1 - s)).sum(-1)], axis=-1)

    def best(self, multiplier: Floats) -> Floats:
        """Sparsities [K, n] of least loss + multiplier x cost, layer by layer."""
        slope = multiplier[:, None] * self.c / (self.a * self.p)
        return np.clip(slope ** (1 / (self.p - 1)), 0, MOST)

    def front(self, points: int = 20_000) -> Floats:
        """[K, 2] of the exact front."""
        return self.values(self.best(np.geomspace(1e-12, 1e4, points)))


def hypervolume(points: Floats) -> float:
    """Of points [K, 2], to REFERENCE."""
    return float(moocore.hypervolume(points, ref=REFERENCE))


def share(found: Floats, problem: Problem) -> float:
    """Hypervolume of points found as a share of the exact front's."""
    return hypervolume(found) / hypervolume(problem.front())
