"""Proposals from predicted losses: where the recalibrated front promises the most hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
from scipy.stats import spearmanr

from sparsefront.pruning.predicted_front import GroupCurve, PredictedFront, predicted_front
from sparsefront.search.config.agreement import Agreement
from sparsefront.search.optimizer.recalibration import Floats, LossModel, recalibrated

Sparsities = Mapping[str, float]
EXPLORATION_START, EXPLORATION_TRIALS = 0.05, 80
"""How far proposals stray from the mean model: by this share of the posterior's covariance at
first, when every trial is an improvement, and after so many trials as far as the posterior allows.
"""


@dataclass(frozen=True, kw_only=True)
class LossPrediction:
    """The loss that importance scores predict for an allocation: what is known before any trial.

    curves  field of the space -> its group's curve
    cost    the objective that is exact: `dense` less `unit` for each MAC saved, minimised
    worst   objective -> the value that counts nothing, of all objectives
    best    objective -> the best possible value
    most_cost  no allocation that costs more is tried; None: no limit
    """

    curves: Mapping[str, GroupCurve]
    cost: str
    dense: float
    unit: float
    worst: Mapping[str, float]
    best: Mapping[str, float]
    most_cost: float | None = None

    @property
    def spread(self) -> Floats | None:
        """Which tilts a group has (recalibration.py); None: each its own."""
        return None

    @property
    def qualities(self) -> list[str]:
        """The objectives that pruning harms."""
        return [name for name in self.worst if name != self.cost]

    def proposed(self) -> dict[str, tuple[float, float]]:
        """Field of the space -> the least and the most that is proposed for it."""
        return {
            name: (float(curve.sparsities.min()), float(curve.sparsities.max()))
            for name, curve in self.curves.items()
        }

    def identity(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values of a whole trial in a form that is the same where the allocation is."""
        return values

    def first(self, count: int) -> list[dict[str, float]]:
        """Allocations evenly spaced along the front, the least pruned first."""
        return self.front().evenly(count)

    def front(self, tilt: Mapping[str, float] | None = None) -> PredictedFront:
        """The predicted front within the limit of the cost."""
        front = predicted_front(self.curves, tilt)
        return front if self.most_cost is None else front.saving(self._least_saved())

    def candidates(self, tilts: Floats) -> list[dict[str, float]]:
        """Values of the space along the front, groups tilted so."""
        front = self.front(dict(zip(self.curves, tilts.tolist(), strict=True)))
        return [front.allocation(i) for i in range(len(front.saved))]

    def _least_saved(self) -> float:
        assert self.most_cost is not None
        return (self.dense - self.most_cost) / self.unit

    def losses(self, tried: Sequence[Sparsities]) -> Floats:
        """Each group's predicted loss [N, n], as a share of what the most pruned loses."""
        scale = max(sum(float(c.loss.max()) for c in self.curves.values()), 1e-300)
        rows = [[np.interp(t[n], c.sparsities, c.loss) for n, c in self.curves.items()]
                for t in tried]  # fmt: skip
        return np.array(rows, float).reshape(len(tried), len(self.curves)) / scale

    def costs(self, tried: Sequence[Sparsities]) -> Floats:
        """The exact objective [N], as a share of its worst value."""
        saved = [
            sum(np.interp(t[n], c.sparsities, c.saved) for n, c in self.curves.items())
            for t in tried
        ]
        return (self.dense - self.unit * np.array(saved, float)) / self.worst[self.cost]

    def shares_lost(self, name: str, values: Sequence[float]) -> Floats:
        """Measured values [N] on the scale of losses: 0 the best measured, 1 the worst value."""
        worst = self.worst[name]
        signed = (worst - np.array(values, float)) * np.sign(worst - self.best[name])
        most = max(float(signed.max(initial=0.0)), 1e-12)
        return 1 - signed / most

    def agreement(
        self, name: str, tried: Sequence[Sparsities], values: Sequence[float]
    ) -> Agreement | None:
        """How well losses of this quality are predicted; None below 4 trials, or where all are
        the same and nothing can be ranked.
        """
        if len(tried) < 4:
            return None
        measured, seen = self.shares_lost(name, values), self.losses(tried)
        others = [np.arange(len(tried)) != i for i in range(len(tried))]
        left_out = [
            recalibrated(seen[rest], measured[rest], self.spread).best.at(seen[i])
            for i, rest in enumerate(others)
        ]
        scores, after = seen.sum(1), np.array(left_out)
        if any(np.ptp(values) == 0 for values in (measured, scores, after)):
            return None
        return Agreement(
            scores=float(spearmanr(scores, measured).statistic),
            recalibrated=float(spearmanr(after, measured).statistic),
        )


def propose(
    prediction: LossPrediction,
    tried: Sequence[Sparsities],
    values: Mapping[str, Sequence[float]],
    running: Sequence[Sparsities],
    random: np.random.Generator,
) -> dict[str, float]:
    """Where to look next: a front drawn from the posterior, and on it the allocation that adds most
    to the hypervolume of what was tried or is running, both as the mean model sees them. One that
    was tried already only where all were.

    values  objective -> measured value of each of `tried`; costs are those of the curves, for what
            was tried too: where other fields change the model, all are wrong alike
    """
    seen = prediction.losses(tried)
    models = {
        name: recalibrated(seen, prediction.shares_lost(name, values[name]), prediction.spread)
        for name in prediction.qualities
    }
    exploration = min(1.0, EXPLORATION_START + len(tried) / EXPLORATION_TRIALS)
    drawn = {name: model.drawn(random, exploration) for name, model in models.items()}
    leading = drawn[prediction.qualities[int(random.integers(len(drawn)))]]
    candidates = prediction.candidates(leading.tilts)
    new = [c for c in candidates if c not in [*tried, *running]] or candidates
    points = _points(
        prediction, new, {n: curve.at(prediction.losses(new)) for n, curve in drawn.items()}
    )
    had = _had(prediction, models, [*tried, *running])
    return new[int(np.argmax([_volume(had, point) for point in points]))]


def _had(
    prediction: LossPrediction, models: Mapping[str, LossModel], tried: Sequence[Sparsities]
) -> Floats:
    losses = prediction.losses(tried)
    return _points(prediction, tried, {n: model.best.at(losses) for n, model in models.items()})


def _points(
    prediction: LossPrediction, tried: Sequence[Sparsities], losses: Mapping[str, Floats]
) -> Floats:
    """[N, objectives], to minimise, 1 counts nothing."""
    return np.stack([*losses.values(), prediction.costs(tried)], axis=1)


def _volume(had: Floats, point: Floats) -> float:
    return float(moocore.hypervolume(np.vstack([had, point]), ref=np.ones(len(point))))
