"""Multi-objective successive halving: at each rung, who goes on.

Asynchronous, as ASHA (Li et al., MLSys 2020), with the scalar rank replaced by non-dominated
sorting and, inside a front, by how much a point adds to its spread (MO-ASHA, Schmucker et al.
2021). Nothing here knows of Ray or of what a trial is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import moocore
import numpy as np
from numpy.typing import NDArray

from sparsefront.search.config.halving import Halving, Spread

Floats = NDArray[np.float64]


@dataclass
class RungRecord:
    """What one rung has seen: trial id -> losses [objectives], all to minimise; and who of them
    went on.
    """

    halving: Halving
    seen: dict[int, Floats] = field(default_factory=dict)
    went_on: dict[int, bool] = field(default_factory=dict)

    def restore(self, trial_id: int, losses: Sequence[float]) -> None:
        """A trial of an earlier driver, which went on."""
        self.seen[trial_id], self.went_on[trial_id] = np.asarray(losses, float), True

    def goes_on(self, trial_id: int, losses: Sequence[float]) -> bool:
        """Records a trial and says whether it is among the best 1 / reduction so far, itself
        counted. One that asks again, as its worker died later, has the same answer.
        """
        if trial_id not in self.went_on:
            self.seen[trial_id] = np.asarray(losses, float)
            self.went_on[trial_id] = self._among_best(trial_id)
        return self.went_on[trial_id]

    def _among_best(self, trial_id: int) -> bool:
        ids = list(self.seen)
        points = np.stack([self.seen[i] for i in ids])
        fronts = moocore.pareto_rank(points)
        own = ids.index(trial_id)
        if len(ids) < self.halving.safe and fronts[own] == 0:
            return True
        place = ranked(points, self.halving.spread).index(own)
        return place < max(1.0, len(ids) / self.halving.reduction)


def ranked(points: Floats, spread: Spread = "epsilon_net") -> list[int]:
    """Indices of points [N, objectives] (to minimise), best first: front by front, inside a front
    by spread.
    """
    fronts = moocore.pareto_rank(points)
    order: list[int] = []
    for front in range(int(fronts.max()) + 1):
        members = np.flatnonzero(fronts == front)
        inner = SPREADS[spread](_scaled(points[members]))
        order += members[inner].tolist()
    return order


def epsilon_net(points: Floats) -> list[int]:
    """Farthest-first order: the best by the first objective, then always the point farthest from
    all those before it (Salinas et al. 2021). Points [N, objectives] of one scale.
    """
    order = [int(np.lexsort(points.T[::-1])[0])]
    distance = np.linalg.norm(points - points[order[0]], axis=1)
    while len(order) < len(points):
        distance[order] = -1.0
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
    return order


def crowding(points: Floats) -> list[int]:
    """By crowding distance, the loneliest first; ends of each objective are infinitely lonely
    (NSGA-II, Deb et al. 2002). Points [N, objectives] of one scale.
    """
    distance = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        ranked_values = values[order]
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += ranked_values[2:] - ranked_values[:-2]
    return np.argsort(-distance, kind="stable").tolist()


SPREADS = {"epsilon_net": epsilon_net, "crowding": crowding}


def _scaled(points: Floats) -> Floats:
    low, high = points.min(0), points.max(0)
    return (points - low) / np.where(high > low, high - low, 1.0)


def losses_of(values: Mapping[str, float], directions: Mapping[str, str]) -> list[float]:
    """Objective values as numbers to minimise, in the order of `directions`."""
    return [values[n] if d == "min" else -values[n] for n, d in directions.items()]
