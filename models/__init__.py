"""The catalogue of fusion models: one spec a model, built by `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from models.bevfusion import BEVFusionSmall
from models.fusion_model import FusionModel
from models.mit.published import PUBLISHED as MIT
from models.mit.published import BEVFusionMIT

KINDS: tuple[type[BEVFusionSmall] | type[BEVFusionMIT], ...] = (BEVFusionSmall, *MIT)
if TYPE_CHECKING:
    ModelSpec = BEVFusionSmall | BEVFusionMIT
else:
    ModelSpec = Union[KINDS]  # noqa: UP007
"""Union of the specs of every model (discriminated by `name`)."""

NAMES: dict[str, type[BEVFusionSmall] | type[BEVFusionMIT]] = {
    str(kind.__dataclass_fields__["name"].default): kind for kind in KINDS
}


def build(spec: ModelSpec) -> FusionModel:
    """The model of a spec, with fresh weights from torch's global generator."""
    return spec.build()


__all__ = ["NAMES", "BEVFusionSmall", "FusionModel", "ModelSpec", "build"]
