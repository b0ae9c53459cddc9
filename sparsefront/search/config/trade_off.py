"""An allocation in a few numbers: how far along the predicted front, and which part to spare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sparsefront.errors import InputError
from sparsefront.pruning.criteria import Fisher
from sparsefront.search.config.named_classes import AnyCriterion


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """Instead of sparsities: the allocation of least predicted loss (pruning/predicted_front.py).

    saved    share of the MACs that can be saved, 0..1
    tilt     modality or stage -> how much more it loses than the criterion's scores say, as a
             logarithm: above 0 spares it, 0 believes the scores; a stage's adds to its modality's
    predicted_by  the criterion whose scores are the predicted loss; the trial's own says which
             weights go
    groups   what is given one sparsity: each modality, or each stage
    most     highest sparsity of a group
    """

    saved: float
    tilt: dict[str, float] = field(default_factory=dict)
    predicted_by: AnyCriterion = field(default_factory=Fisher)
    groups: Literal["modality", "stage"] = "stage"
    most: float = 0.95

    def __post_init__(self) -> None:
        if not 0.0 <= self.saved <= 1.0:
            raise InputError(f"saved: value {self.saved!r}; allowed: 0 <= x <= 1")
        if not 0.0 < self.most < 1.0:
            raise InputError(f"most: value {self.most!r}; allowed: 0 < x < 1")

    def tilt_of(self, group: str) -> float:
        """Of a modality, or of a stage such as camera.neck."""
        modality = group.partition(".")[0]
        own = self.tilt.get(group, 0.0)
        return own if modality == group else own + self.tilt.get(modality, 0.0)
