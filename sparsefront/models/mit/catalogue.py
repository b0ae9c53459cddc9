"""The published configurations by name, and the same at a size for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sparsefront.models.convention import LENGTH_FIRST, Convention
from sparsefront.models.mit.model import BEVFusionMIT
from sparsefront.models.mit.parts import (
    CameraSpec,
    CenterSpec,
    MapSpec,
    PointPillarsSpec,
    RadarSpec,
    ResidualSpec,
    ResNetSpec,
    SecondFpnSpec,
    SecondSpec,
    SwinSpec,
    TransFusionSpec,
    ViewSpec,
    VoxelNetSpec,
)

COARSE = VoxelNetSpec(voxel_m=(0.1, 0.1, 0.2), max_voxels=(90_000, 120_000))
COARSE_VIEW = ViewSpec(kind="lss", cell_m=0.4)
RESNET = CameraSpec(
    backbone=ResNetSpec(),
    neck=SecondFpnSpec(),
    view=ViewSpec(kind="lss", channels=64, depth_m=(1.0, 60.0, 1.0), cell_m=0.8, halves=False),
)
SEGMENTING_SWIN = SwinSpec(drop_path=0.3)


@dataclass(frozen=True, kw_only=True)
class FusionDetectorMIT(BEVFusionMIT):
    """Camera and LiDAR."""

    name: Literal["mit_bevfusion-det"] = "mit_bevfusion-det"
    half_side_m: float = 54.0
    camera: CameraSpec | None = field(default_factory=CameraSpec)
    lidar: VoxelNetSpec | PointPillarsSpec | None = field(default_factory=VoxelNetSpec)


@dataclass(frozen=True, kw_only=True)
class LidarDetectorMIT(BEVFusionMIT):
    """LiDAR alone, voxels of 0.075 m."""

    name: Literal["mit_lidar-only-det"] = "mit_lidar-only-det"
    half_side_m: float = 54.0
    lidar: VoxelNetSpec | PointPillarsSpec | None = field(default_factory=VoxelNetSpec)


@dataclass(frozen=True, kw_only=True)
class CoarseLidarDetectorMIT(BEVFusionMIT):
    """LiDAR alone, voxels of 0.1 m."""

    name: Literal["mit_lidar-voxelnet-0p1-det"] = "mit_lidar-voxelnet-0p1-det"
    lidar: VoxelNetSpec | PointPillarsSpec | None = COARSE


@dataclass(frozen=True, kw_only=True)
class PillarDetectorMIT(BEVFusionMIT):
    """LiDAR alone, PointPillars."""

    name: Literal["mit_lidar-pointpillars-det"] = "mit_lidar-pointpillars-det"
    lidar: VoxelNetSpec | PointPillarsSpec | None = field(default_factory=PointPillarsSpec)
    decoder: SecondSpec | ResidualSpec = SecondSpec(
        channels=(64, 128, 256), depths=(3, 5, 5), strides=(2, 2, 2), up_channels=128,
        up_strides=(0.5, 1, 2),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CenterDetectorMIT(BEVFusionMIT):
    """Cameras, a residual decoder and CenterPoint's head."""

    camera: CameraSpec | None = RESNET
    decoder: SecondSpec | ResidualSpec = field(default_factory=ResidualSpec)
    head: TransFusionSpec | CenterSpec | MapSpec = field(default_factory=CenterSpec)


@dataclass(frozen=True, kw_only=True)
class CameraDetectorMIT(CenterDetectorMIT):
    """Cameras alone, Swin-T."""

    name: Literal["mit_camera-only-det"] = "mit_camera-only-det"
    camera: CameraSpec | None = CameraSpec(view=COARSE_VIEW)


@dataclass(frozen=True, kw_only=True)
class ResNetDetectorMIT(CenterDetectorMIT):
    """Cameras alone, ResNet-50."""

    name: Literal["mit_camera-resnet50-det"] = "mit_camera-resnet50-det"


@dataclass(frozen=True, kw_only=True)
class ResNet101DetectorMIT(CenterDetectorMIT):
    """Cameras alone, ResNet-101."""

    name: Literal["mit_camera-resnet101-det"] = "mit_camera-resnet101-det"
    camera: CameraSpec | None = replace(RESNET, backbone=ResNetSpec(depth=101))


@dataclass(frozen=True, kw_only=True)
class BevDepthDetectorMIT(CenterDetectorMIT):
    """Cameras alone, ResNet-50, BEVDepth's view transform."""

    name: Literal["mit_camera-resnet50-bevdepth-det"] = "mit_camera-resnet50-bevdepth-det"
    camera: CameraSpec | None = replace(RESNET, view=replace(RESNET.view, kind="bevdepth"))


@dataclass(frozen=True, kw_only=True)
class RadarFusionMIT(CenterDetectorMIT):
    """BEVFusion-R: cameras and radar."""

    radar: RadarSpec | None = field(default_factory=RadarSpec)
    fused_channels: int = 64
    head: TransFusionSpec | CenterSpec | MapSpec = CenterSpec(velocity_weight=1.0)


@dataclass(frozen=True, kw_only=True)
class RadarDetectorMIT(RadarFusionMIT):
    """BEVFusion-R with depth from the image alone."""

    name: Literal["mit_camera-radar-resnet50-det"] = "mit_camera-radar-resnet50-det"


@dataclass(frozen=True, kw_only=True)
class RadarDepthDetectorMIT(RadarFusionMIT):
    """BEVFusion-R whose depth network reads radar too."""

    name: Literal["mit_camera-radar-resnet50-dlss-det"] = "mit_camera-radar-resnet50-dlss-det"
    camera: CameraSpec | None = replace(RESNET, view=replace(RESNET.view, kind="radar_bevdepth"))


@dataclass(frozen=True, kw_only=True)
class FusionSegmenterMIT(BEVFusionMIT):
    """Map segmentation from cameras and LiDAR."""

    name: Literal["mit_bevfusion-seg"] = "mit_bevfusion-seg"
    camera: CameraSpec | None = CameraSpec(backbone=SEGMENTING_SWIN, view=COARSE_VIEW)
    lidar: VoxelNetSpec | PointPillarsSpec | None = COARSE
    head: TransFusionSpec | CenterSpec | MapSpec = field(default_factory=MapSpec)


@dataclass(frozen=True, kw_only=True)
class LidarSegmenterMIT(BEVFusionMIT):
    """Map segmentation from LiDAR."""

    name: Literal["mit_lidar-only-seg"] = "mit_lidar-only-seg"
    lidar: VoxelNetSpec | PointPillarsSpec | None = COARSE
    head: TransFusionSpec | CenterSpec | MapSpec = field(default_factory=MapSpec)


@dataclass(frozen=True, kw_only=True)
class CameraSegmenterMIT(BEVFusionMIT):
    """Map segmentation from cameras."""

    name: Literal["mit_camera-only-seg"] = "mit_camera-only-seg"
    camera: CameraSpec | None = CameraSpec(backbone=SEGMENTING_SWIN, view=COARSE_VIEW)
    decoder: SecondSpec | ResidualSpec = ResidualSpec(channels=(160, 320, 640))
    head: TransFusionSpec | CenterSpec | MapSpec = field(default_factory=MapSpec)


@dataclass(frozen=True, kw_only=True)
class FusionLengthFirst(BEVFusionMIT):
    """Camera and LiDAR, boxes as mmdetection3d 1.x and OpenPCDet have them."""

    half_side_m: float = 54.0
    camera: CameraSpec | None = field(default_factory=CameraSpec)
    lidar: VoxelNetSpec | PointPillarsSpec | None = field(default_factory=VoxelNetSpec)
    convention: Convention = LENGTH_FIRST


@dataclass(frozen=True, kw_only=True)
class LidarLengthFirst(FusionLengthFirst):
    """The same from LiDAR alone."""

    camera: CameraSpec | None = None


@dataclass(frozen=True, kw_only=True)
class FusionDetectorMMDet3D(FusionLengthFirst):
    """mmdetection3d 1.x's port, sparse weights as spconv 2 stores them."""

    name: Literal["mmdet3d_bevfusion_lidar-cam_spconv2"] = "mmdet3d_bevfusion_lidar-cam_spconv2"


@dataclass(frozen=True, kw_only=True)
class FusionDetectorMMCV(FusionLengthFirst):
    """mmdetection3d 1.x's port, sparse weights as mmcv stores them."""

    name: Literal["mmdet3d_bevfusion_lidar-cam_mmcvops"] = "mmdet3d_bevfusion_lidar-cam_mmcvops"


@dataclass(frozen=True, kw_only=True)
class LidarDetectorMMDet3D(LidarLengthFirst):
    """mmdetection3d 1.x's port, LiDAR alone."""

    name: Literal["mmdet3d_bevfusion_lidar_spconv2"] = "mmdet3d_bevfusion_lidar_spconv2"


@dataclass(frozen=True, kw_only=True)
class FusionDetectorPCDet(FusionLengthFirst):
    """OpenPCDet's port."""

    name: Literal["pcdet_bevfusion"] = "pcdet_bevfusion"


@dataclass(frozen=True, kw_only=True)
class LidarDetectorPCDet(LidarLengthFirst):
    """OpenPCDet's TransFusion on LiDAR."""

    name: Literal["pcdet_transfusion_lidar"] = "pcdet_transfusion_lidar"


PUBLISHED: tuple[type[BEVFusionMIT], ...] = (
    FusionDetectorMIT,
    LidarDetectorMIT,
    CoarseLidarDetectorMIT,
    PillarDetectorMIT,
    CameraDetectorMIT,
    ResNetDetectorMIT,
    ResNet101DetectorMIT,
    BevDepthDetectorMIT,
    RadarDetectorMIT,
    RadarDepthDetectorMIT,
    FusionSegmenterMIT,
    LidarSegmenterMIT,
    CameraSegmenterMIT,
    FusionDetectorMMDet3D,
    FusionDetectorMMCV,
    LidarDetectorMMDet3D,
    FusionDetectorPCDet,
    LidarDetectorPCDet,
)
