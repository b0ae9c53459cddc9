"""The catalogue of fusion models: one spec a model, built by `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from sparsefront.models.avod.model import AvodFpn
from sparsefront.models.bevfusion import BEVFusionSmall
from sparsefront.models.fusion_model import FusionModel
from sparsefront.models.mit.catalogue import PUBLISHED as MIT
from sparsefront.models.mit.model import BEVFusionMIT
from sparsefront.models.pku.catalogue import PUBLISHED as PKU
from sparsefront.models.pku.model import BEVFusionPKU

Kind = type[BEVFusionSmall] | type[BEVFusionMIT] | type[BEVFusionPKU] | type[AvodFpn]
KINDS: tuple[Kind, ...] = (BEVFusionSmall, *MIT, *PKU, AvodFpn)
if TYPE_CHECKING:
    ModelSpec = BEVFusionSmall | BEVFusionMIT | BEVFusionPKU | AvodFpn
else:
    ModelSpec = Union[KINDS]  # noqa: UP007
"""Union of the specs of every model (discriminated by `name`)."""

NAMES: dict[str, Kind] = {str(kind.__dataclass_fields__["name"].default): kind for kind in KINDS}


def build(spec: ModelSpec) -> FusionModel:
    """Builds the model of a spec, with initial weights from torch's global generator."""
    return spec.build()


__all__ = ["NAMES", "BEVFusionMIT", "BEVFusionSmall", "FusionModel", "ModelSpec", "build"]
