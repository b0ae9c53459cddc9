"""The published configurations by name, and the same at a size for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsefront.models.mit.parts import (
    PointPillarsSpec,
    SecondSpec,
    TransFusionSpec,
    VoxelNetSpec,
)
from sparsefront.models.pku.model import BEVFusionPKU

BY_SIZE = (
    "car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle",
    "pedestrian", "traffic_cone", "barrier",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TransFusionPKU(BEVFusionPKU):
    """Voxels and TransFusion's head."""

    name: Literal["pku_bevf_tf"] = "pku_bevf_tf"


@dataclass(frozen=True, kw_only=True)
class CenterPointPKU(BEVFusionPKU):
    """Voxels and CenterPoint's head with deformable convolutions."""

    name: Literal["pku_bevf_cp"] = "pku_bevf_cp"
    head: TransFusionSpec | Literal["center", "anchors"] = "center"


@dataclass(frozen=True, kw_only=True)
class PointPillarsPKU(BEVFusionPKU):
    """Pillars and an anchor head."""

    name: Literal["pku_bevf_pp"] = "pku_bevf_pp"
    half_side_m: float = 50.0
    cell_m: float = 0.5
    lidar: VoxelNetSpec | PointPillarsSpec = PointPillarsSpec(
        pillar_m=0.25, max_points=64, max_voxels=(30_000, 40_000)
    )
    decoder: SecondSpec = SecondSpec(
        channels=(64, 128, 256), depths=(3, 5, 5), strides=(2, 2, 2), up_channels=128,
        up_strides=(1, 2, 4), transposes_one=True,
    )  # fmt: skip
    head: TransFusionSpec | Literal["center", "anchors"] = "anchors"
    classes: tuple[str, ...] = BY_SIZE


PUBLISHED: tuple[type[BEVFusionPKU], ...] = (TransFusionPKU, CenterPointPKU, PointPillarsPKU)
