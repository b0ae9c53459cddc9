"""How far predicted and measured losses of a sweep agree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Spearman's rank correlation of predicted and measured loss: by the scores alone, and
    recalibrated on all other trials.
    """

    scores: float
    recalibrated: float

    def sentence(self, name: str) -> str:
        """In one line, for the quality of that name."""
        return (
            f"predicted loss of {name}: rank correlation {self.scores:.2f} by scores alone, "
            f"{self.recalibrated:.2f} recalibrated on the other trials"
        )
