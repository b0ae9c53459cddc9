"""The catalogue of fusion models: one spec a model, built by `build`."""

from __future__ import annotations

from models.bevfusion import BEVFusionSmall
from models.fusion_model import FusionModel

ModelSpec = BEVFusionSmall
"""Union of the specs of every model (discriminated by `name`)."""

NAMES: dict[str, type[ModelSpec]] = {"bevfusion-small": BEVFusionSmall}


def build(spec: ModelSpec) -> FusionModel:
    """The model of a spec, with fresh weights from torch's global generator."""
    return spec.build()


__all__ = ["NAMES", "BEVFusionSmall", "FusionModel", "ModelSpec", "build"]
