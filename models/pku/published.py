"""The published configurations by name, and the same at a size for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from models.camera.lift_splat import Bounds
from models.convention import CENTRED, Convention
from models.fusion_model import Task
from models.mit.parts import (
    PointPillarsSpec,
    SecondSpec,
    SwinSpec,
    TransFusionSpec,
    VoxelNetSpec,
)
from models.pku.model import PkuBEVFusion
from scenes.batch import DETECTION_CLASSES

BY_SIZE = (
    "car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle",
    "pedestrian", "traffic_cone", "barrier",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BEVFusionPKU:
    """Images of image_size stand for a plane of pixels; the map reaches half_side_m in cells of
    cell_m, which are also its slices of height for the cameras.
    """

    task: ClassVar[Task] = "detection"
    name: str = ""
    image_size: tuple[int, int] = (448, 800)
    plane: tuple[int, int] = (900, 1600)
    stride: int = 8
    swin: SwinSpec = field(default_factory=SwinSpec)
    neck_channels: int = 256
    lifted_channels: int = 64
    view_widths: tuple[int, ...] = (512, 512)
    depth_m: Bounds = (4.0, 45.0, 1.0)
    half_side_m: float = 54.0
    heights_m: tuple[float, float] = (-5.0, 3.0)
    cell_m: float = 0.6
    lidar: VoxelNetSpec | PointPillarsSpec = field(default_factory=VoxelNetSpec)
    decoder: SecondSpec = field(default_factory=SecondSpec)
    head: TransFusionSpec | Literal["center", "anchors"] = field(default_factory=TransFusionSpec)
    center_channels: int = 64
    classes: tuple[str, ...] = DETECTION_CLASSES
    convention: Convention = CENTRED

    def build(self) -> PkuBEVFusion:
        return PkuBEVFusion(self)

    def tiny(self) -> BEVFusionPKU:
        """Every part at a size for tests: 48 x 96 images, 25.6 m, cells of 1.6 m."""
        lidar = self.lidar
        if isinstance(lidar, VoxelNetSpec):
            lidar = replace(lidar, voxel_m=(0.2, 0.2, 0.2), channels=(4, 8, 8, 8))
        else:
            lidar = replace(lidar, pillar_m=0.8, channels=(8, 8), max_points=5)
        head = self.head
        if isinstance(head, TransFusionSpec):
            head = replace(head, channels=16, hidden=16, proposals=20, dropout=0.0)
        stages = len(self.decoder.channels)
        return replace(
            self, image_size=(48, 96), plane=(96, 192), neck_channels=8, lifted_channels=4,
            view_widths=(8, 8), depth_m=(4.0, 24.0, 2.0), half_side_m=25.6, cell_m=1.6,
            swin=SwinSpec(
                channels=8, depths=(1, 1, 2, 1), heads=(2, 2, 4, 4), window=3, drop_path=0.0
            ),
            lidar=lidar, head=head, center_channels=8,
            decoder=replace(
                self.decoder, channels=(8, 16, 16)[:stages], depths=(1, 1, 1)[:stages],
                up_channels=8,
            ),
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
