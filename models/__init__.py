"""The catalogue of fusion models: one spec a model, built by `build`."""

from __future__ import annotations

from models.bevfusion import BEVFusionSmall
from models.bevfusion_mit import (
    CoarseLidarDetectorMIT,
    FusionDetectorMIT,
    LidarDetectorMIT,
)
from models.fusion_model import FusionModel

ModelSpec = BEVFusionSmall | FusionDetectorMIT | LidarDetectorMIT | CoarseLidarDetectorMIT
"""Union of the specs of every model (discriminated by `name`)."""

NAMES: dict[str, type[ModelSpec]] = {
    kind().name: kind
    for kind in (BEVFusionSmall, FusionDetectorMIT, LidarDetectorMIT, CoarseLidarDetectorMIT)
}


def build(spec: ModelSpec) -> FusionModel:
    """The model of a spec, with fresh weights from torch's global generator."""
    return spec.build()


__all__ = [
    "NAMES",
    "BEVFusionSmall",
    "CoarseLidarDetectorMIT",
    "FusionDetectorMIT",
    "FusionModel",
    "LidarDetectorMIT",
    "ModelSpec",
    "build",
]
