"""What pruning took of each layer: weights, score mass, MACs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from sparsefront.pruning.groups import stage_of
from sparsefront.pruning.scores import ImportanceScores


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One prunable weight.

    removed       share of its weights that are gone
    mass_removed  share of its score mass that is gone: its sensitivity to what was done to it.
                  Scores below zero count as none. None where the layer scores nothing at all
    macs          of one frame after pruning, beside macs_dense
    """

    weight: str
    modality: str
    stage: str
    parameters: int
    removed: float
    mass_removed: float | None
    macs: float
    macs_dense: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def layer_rows(
    scores: ImportanceScores, mask: Mapping[str, Tensor], cost: Mapping[str, Any]
) -> list[LayerRow]:
    """In the order of the model. mask: bool, what stays of each weight; cost: the ModelCost of the
    trial as JSON data.
    """
    return [
        LayerRow(
            weight=name,
            modality=name.partition(".")[0],
            stage=stage_of(name),
            parameters=kept.numel(),
            removed=1 - int(kept.sum()) / kept.numel(),
            mass_removed=_mass_removed(scores.by_weight[name], kept),
            macs=cost["per_layer"][name]["macs"],
            macs_dense=cost["per_layer"][name]["macs_dense"],
        )
        for name, kept in mask.items()
    ]


def _mass_removed(score: Tensor, kept: Tensor) -> float | None:
    mass = score.double().clamp(min=0)
    whole = float(mass.sum())
    return float(mass[~kept].sum()) / whole if whole > 0 else None
