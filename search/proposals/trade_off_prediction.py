"""The prediction where the space is a trade-off: how far along the front, and a few tilts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pruning.predicted_front import PredictedFront, predicted_front
from search.proposals.prediction import Prediction, Sparsities
from search.proposals.recalibration import Floats
from search.space import Range
from search.trials.trade_off import TradeOff


@dataclass(frozen=True, kw_only=True)
class TradeOffPrediction(Prediction):
    """Over trade_off.saved and trade_off.tilt.*; curves are of the budgets that it is about.

    own     the trial's trade-off: tilts that are not searched
    saved   field and range of how far along the front
    tilts   fields of searched tilts -> range, by the modality or stage that they spare
    """

    own: TradeOff
    saved: tuple[str, Range]
    tilts: Mapping[str, tuple[str, Range]]
    _fronts: dict[tuple[float, ...], PredictedFront] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def spread(self) -> Floats:
        """[t, n]: a modality's tilt is that of all its stages."""
        rows = [[float(_covers(part, b)) for b in self.curves] for part in self.tilts]
        return np.array(rows).reshape(len(self.tilts), len(self.curves))

    def losses(self, tried: Sequence[Sparsities]) -> Floats:
        """As the trial's own tilts see them."""
        own = np.exp([self._own(budget) for budget in self.curves])
        return super().losses([self._allocation(values) for values in tried]) * own

    def costs(self, tried: Sequence[Sparsities]) -> Floats:
        return super().costs([self._allocation(values) for values in tried])

    def candidates(self, tilts: Floats) -> list[dict[str, float]]:
        """Tilts as far as their ranges go."""
        values = {
            name: float(np.clip(tilt, searched.low, searched.high))
            for tilt, (name, searched) in zip(tilts, self.tilts.values(), strict=True)
        }
        front = self._tilted(values)
        shares = (front.saved - front.saved[0]) / np.ptp(front.saved)
        name, saved = self.saved
        least = max(saved.low, self._least_share(front))
        inside = [s for s in shares.tolist() if least <= s <= saved.high]
        return [{**values, name: s} for s in inside or [min(least, saved.high)]]

    def _least_share(self, front: PredictedFront) -> float:
        """From where on the limit of the cost is kept."""
        if self.most_cost is None:
            return 0.0
        needed = (self._least_saved() - front.saved[0]) / np.ptp(front.saved)
        return float(np.clip(needed, 0.0, 1.0))

    def _allocation(self, values: Sparsities) -> dict[str, float]:
        return self._tilted(values).at(values[self.saved[0]])

    def _tilted(self, values: Sparsities) -> PredictedFront:
        """Kept, as every proposal looks at all trials again."""
        searched = {part: values[name] for part, (name, _) in self.tilts.items()}
        key = tuple(searched.values())
        if key not in self._fronts:
            tilt = {
                budget: self._own(budget)
                + sum(tilt for part, tilt in searched.items() if _covers(part, budget))
                for budget in self.curves
            }
            self._fronts[key] = predicted_front(self.curves, tilt)
        return self._fronts[key]

    def _own(self, budget: str) -> float:
        """The tilt of a budget that is not searched."""
        return sum(
            tilt
            for part, tilt in self.own.tilt.items()
            if part not in self.tilts and _covers(part, budget)
        )


def _covers(part: str, budget: str) -> bool:
    """Whether a tilt of a modality or stage is one of this budget's."""
    return part in (budget, budget.partition(".")[0])
