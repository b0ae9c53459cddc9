"""The prediction where the space is a trade-off: how far along the front, and a few tilts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparsefront.pruning.predicted_front import PredictedFront, predicted_front
from sparsefront.search.config.space import Range
from sparsefront.search.config.trade_off import TradeOff
from sparsefront.search.optimizer.prediction import LossPrediction, Sparsities
from sparsefront.search.optimizer.recalibration import Floats

MOST_KEPT = 20_000


@dataclass(frozen=True, kw_only=True)
class TradeOffPrediction(LossPrediction):
    """Over trade_off.saved and trade_off.tilt.*; curves are of the groups that it is about.

    own     the trial's trade-off: tilts that are not searched
    saved   field and range of how far along the front
    tilts   fields of searched tilts -> range, by the modality or stage that they spare
    """

    own: TradeOff
    saved: tuple[str, Range]
    tilts: Mapping[str, tuple[str, Range]]
    _resolved: dict[tuple[float, ...], dict[str, float]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Allocations of trials, as every proposal looks at all of them again."""

    @property
    def spread(self) -> Floats:
        """[t, n]: a modality's tilt is that of all its stages."""
        rows = [[float(_covers(part, b)) for b in self.curves] for part in self.tilts]
        return np.array(rows).reshape(len(self.tilts), len(self.curves))

    def proposed(self) -> dict[str, tuple[float, float]]:
        """The ranges searched."""
        fields = [self.saved, *self.tilts.values()]
        return {name: (searched.low, searched.high) for name, searched in fields}

    def identity(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the allocation in place of the trade-off: at either end no tilt changes it."""
        allocation = self._allocations([values])[0]
        others = {name: value for name, value in values.items() if name not in self.proposed()}
        return others | {group: round(share, 9) for group, share in allocation.items()}

    def losses(self, tried: Sequence[Sparsities]) -> Floats:
        """As the trial's own tilts see them."""
        own = np.exp([self._own(group) for group in self.curves])
        return super().losses(self._allocations(tried)) * own

    def costs(self, tried: Sequence[Sparsities]) -> Floats:
        return super().costs(self._allocations(tried))

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

    def _allocations(self, tried: Sequence[Sparsities]) -> list[dict[str, float]]:
        """Group -> sparsity, of each."""
        fields = [self.saved[0], *(name for name, _ in self.tilts.values())]
        keys = [tuple(values[name] for name in fields) for values in tried]
        front: PredictedFront | None = None
        last: tuple[float, ...] = ()
        for key, values in zip(keys, tried, strict=True):
            if key not in self._resolved:
                if front is None or key[1:] != last:  # candidates share one front
                    front, last = self._tilted(values), key[1:]
                self._resolved[key] = front.at(key[0])
        found = [self._resolved[key] for key in keys]
        while len(self._resolved) > MOST_KEPT:
            self._resolved.pop(next(iter(self._resolved)))
        return found

    def _tilted(self, values: Sparsities) -> PredictedFront:
        searched = {part: values[name] for part, (name, _) in self.tilts.items()}
        tilt = {
            group: self._own(group)
            + sum(tilt for part, tilt in searched.items() if _covers(part, group))
            for group in self.curves
        }
        return predicted_front(self.curves, tilt)

    def _own(self, group: str) -> float:
        """The tilt of a group that is not searched."""
        return sum(
            tilt
            for part, tilt in self.own.tilt.items()
            if part not in self.tilts and _covers(part, group)
        )


def _covers(part: str, group: str) -> bool:
    """Whether a tilt of a modality or stage is one of this group's."""
    return part in (group, group.partition(".")[0])
