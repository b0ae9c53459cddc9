"""The catalogue of fusion models: one spec a model, built by `build`."""

from __future__ import annotations

from models.bevfusion import BEVFusionSmall
from models.bevfusion_mit import BEVFusionMIT
from models.fusion_model import FusionModel

ModelSpec = BEVFusionSmall | BEVFusionMIT
"""Union of the specs of every model (discriminated by `name`)."""

NAMES: dict[str, type[BEVFusionSmall] | type[BEVFusionMIT]] = {
    "bevfusion-small": BEVFusionSmall,
    "mit_bevfusion-det": BEVFusionMIT,
}


def build(spec: ModelSpec) -> FusionModel:
    """The model of a spec, with fresh weights from torch's global generator."""
    return spec.build()


__all__ = ["NAMES", "BEVFusionMIT", "BEVFusionSmall", "FusionModel", "ModelSpec", "build"]
