"""The parts of a published BEVFusion: one spec a part, its defaults the published numbers.

Any camera backbone goes with any LiDAR backbone; the maps that a fuser joins must have one size.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from sparsefront.errors import InputError
from sparsefront.models.camera.bevdepth import BevDepth, RadarBevDepth
from sparsefront.models.camera.bottleneck_resnet import BLOCKS, EXPANSION, BottleneckResNet
from sparsefront.models.camera.depth_lss import DepthLss
from sparsefront.models.camera.lift_splat import Bounds, LiftGrid, LiftSplat
from sparsefront.models.camera.lss import Lss
from sparsefront.models.camera.neck import GeneralizedLssFpn
from sparsefront.models.camera.swin import Swin
from sparsefront.models.decoder import Decoder, LssNeck, ResidualBackbone, SecondBackbone, SecondFpn
from sparsefront.models.lidar.pillars import Pillars
from sparsefront.models.lidar.second import SecondEncoder
from sparsefront.models.radar.encoder import RadarEncoder
from sparsefront.scenes.batch import RADAR_FIELDS


@dataclass(frozen=True, kw_only=True)
class SwinSpec:
    """Swin transformer; maps at strides 8, 16 and 32."""

    name: Literal["swin"] = "swin"
    channels: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    drop_path: float = 0.2

    def build(self) -> nn.Module:
        return Swin(self.channels, self.depths, self.heads, self.window, self.drop_path)

    def maps(self, levels: int) -> tuple[int, ...]:
        """Channels of the last `levels` maps."""
        return tuple(self.channels * 2**i for i in range(1, len(self.depths)))[-levels:]


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """ResNet with bottlenecks; maps at strides 4 (where asked for), 8, 16 and 32."""

    name: Literal["resnet"] = "resnet"
    depth: Literal[50, 101] = 50
    width: int = 64
    blocks: tuple[int, ...] | None = None
    """Blocks a stage, instead of those of the depth."""

    def build(self, levels: int = 4) -> nn.Module:
        blocks = self.blocks or BLOCKS[self.depth]
        return BottleneckResNet(blocks, self.width, tuple(range(4 - levels, 4)))

    def maps(self, levels: int) -> tuple[int, ...]:
        return tuple(self.width * EXPANSION * 2**i for i in range(4))[-levels:]


BackboneSpec = SwinSpec | ResNetSpec


@dataclass(frozen=True, kw_only=True)
class LssFpnSpec:
    """Top-down neck over three maps; the finest, at stride 8, is its output."""

    name: Literal["lss_fpn"] = "lss_fpn"
    channels: int = 256
    levels: Literal[3] = 3
    stride: Literal[8] = 8

    def build(self, channels_in: tuple[int, ...]) -> nn.Module:
        return GeneralizedLssFpn(channels_in, self.channels)

    @property
    def channels_out(self) -> int:
        return self.channels


@dataclass(frozen=True, kw_only=True)
class SecondFpnSpec:
    """Four maps brought to stride 16 and concatenated; needs a backbone with a map at stride 4."""

    name: Literal["second_fpn"] = "second_fpn"
    channels: int = 128
    levels: Literal[4] = 4
    stride: Literal[16] = 16

    def build(self, channels_in: tuple[int, ...]) -> nn.Module:
        widths = (self.channels,) * len(channels_in)
        return SecondFpn(channels_in, widths, (0.25, 0.5, 1, 2), transposes_one=True)

    @property
    def channels_out(self) -> int:
        return self.channels * self.levels


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """How image features come to bird's-eye view.

    kind      depth_lss (LiDAR depths enter), lss, bevdepth (calibration enters, depth supervised),
              radar_bevdepth (radar enters as well)
    cell_m    of the map that pooling gives
    halves    three convolutions afterwards, the second at stride 2
    """

    kind: Literal["depth_lss", "lss", "bevdepth", "radar_bevdepth"] = "depth_lss"
    channels: int = 80
    depth_m: Bounds = (1.0, 60.0, 0.5)
    cell_m: float = 0.3
    halves: bool = True


@dataclass(frozen=True, kw_only=True)
class CameraSpec:
    """Images to a BEV map."""

    image_size: tuple[int, int] = (256, 704)
    backbone: BackboneSpec = field(default_factory=SwinSpec)
    neck: LssFpnSpec | SecondFpnSpec = field(default_factory=LssFpnSpec)
    view: ViewSpec = field(default_factory=ViewSpec)

    def __post_init__(self) -> None:
        if len(self.backbone.maps(self.neck.levels)) < self.neck.levels:
            raise InputError(f"neck.name: value {self.neck.name!r} with swin; allowed: lss_fpn")

    def build_backbone(self) -> nn.Module:
        if isinstance(self.backbone, ResNetSpec):
            return self.backbone.build(self.neck.levels)
        return self.backbone.build()

    def build_neck(self) -> nn.Module:
        return self.neck.build(self.backbone.maps(self.neck.levels))

    def build_view(self, half_side_m: float) -> LiftSplat:
        height, width = self.image_size
        stride, view = self.neck.stride, self.view
        plane = (-half_side_m, half_side_m, view.cell_m)
        grid = LiftGrid(
            image_size=self.image_size, feature_size=(height // stride, width // stride),
            x=plane, y=plane, depth=view.depth_m,
        )  # fmt: skip
        entering = self.neck.channels_out
        if view.kind == "radar_bevdepth":
            return RadarBevDepth(entering, view.channels, grid, view.halves, RADAR_FIELDS)
        kinds = {"depth_lss": DepthLss, "lss": Lss, "bevdepth": BevDepth}
        return kinds[view.kind](entering, view.channels, grid, view.halves)

    def cell_out_m(self) -> float:
        return self.view.cell_m * (2 if self.view.halves else 1)


@dataclass(frozen=True, kw_only=True)
class VoxelNetSpec:
    """Voxels through SECOND's sparse encoder; the map's cells are eight voxels wide."""

    name: Literal["voxelnet"] = "voxelnet"
    voxel_m: tuple[float, float, float] = (0.075, 0.075, 0.2)
    heights_m: tuple[float, float] = (-5.0, 3.0)
    channels: tuple[int, ...] = (16, 32, 64, 128)
    max_points: int = 10
    max_voxels: tuple[int, int] = (120_000, 160_000)

    def build(self, half_side_m: float) -> SecondEncoder:
        low, high = self.heights_m
        return SecondEncoder(
            self.channels, (-half_side_m, -half_side_m, low), (half_side_m, half_side_m, high),
            self.voxel_m, self.max_points, self.max_voxels,
        )  # fmt: skip

    def cell_out_m(self) -> float:
        return self.voxel_m[0] * 8


@dataclass(frozen=True, kw_only=True)
class PointPillarsSpec:
    """Pillars; the map's cells are the pillars."""

    name: Literal["pointpillars"] = "pointpillars"
    pillar_m: float = 0.2
    heights_m: tuple[float, float] = (-5.0, 3.0)
    channels: tuple[int, ...] = (64, 64)
    max_points: int = 20
    max_voxels: tuple[int, int] = (30_000, 60_000)

    def build(self, half_side_m: float) -> Pillars:
        low, high = self.heights_m
        return Pillars(
            self.channels, (-half_side_m, -half_side_m, low), (half_side_m, half_side_m, high),
            (self.pillar_m, self.pillar_m, high - low), self.max_points, self.max_voxels,
        )  # fmt: skip

    def cell_out_m(self) -> float:
        return self.pillar_m


@dataclass(frozen=True, kw_only=True)
class RadarSpec:
    """Pillars of radar points."""

    pillar_m: float = 0.8
    heights_m: tuple[float, float] = (-5.0, 3.0)
    channels: tuple[int, ...] = (128, 128, 128, 64)
    max_points: int = 20
    max_voxels: tuple[int, int] = (30_000, 60_000)

    def build(self, half_side_m: float) -> RadarEncoder:
        low, high = self.heights_m
        return RadarEncoder(
            self.channels, (-half_side_m, -half_side_m, low), (half_side_m, half_side_m, high),
            (self.pillar_m, self.pillar_m, high - low), self.max_points, self.max_voxels,
        )  # fmt: skip

    def cell_out_m(self) -> float:
        return self.pillar_m


@dataclass(frozen=True, kw_only=True)
class SecondSpec:
    """SECOND's BEV backbone and its FPN. `shrinks`: how many times coarser the map comes out."""

    name: Literal["second"] = "second"
    channels: tuple[int, ...] = (128, 256)
    depths: tuple[int, ...] = (5, 5)
    strides: tuple[int, ...] = (1, 2)
    up_channels: int = 256
    up_strides: tuple[float, ...] = (1, 2)
    transposes_one: bool = False

    def build(self, channels_in: int) -> Decoder:
        widths = (self.up_channels,) * len(self.channels)
        return Decoder(
            SecondBackbone(channels_in, self.channels, self.depths, self.strides),
            SecondFpn(self.channels, widths, self.up_strides, self.transposes_one),
        )

    @property
    def channels_out(self) -> int:
        return self.up_channels * len(self.channels)

    @property
    def shrinks(self) -> float:
        return self.strides[0] / self.up_strides[0]


@dataclass(frozen=True, kw_only=True)
class ResidualSpec:
    """Residual stages at strides 2, 4 and 4, and the neck of Lift, Splat, Shoot."""

    name: Literal["residual"] = "residual"
    channels: tuple[int, ...] = (128, 256, 512)
    blocks: int = 2
    strides: tuple[int, ...] = (2, 2, 1)
    out_channels: int = 256

    def build(self, channels_in: int) -> Decoder:
        return Decoder(
            ResidualBackbone(channels_in, self.channels, self.blocks, self.strides),
            LssNeck((self.channels[-1], self.channels[0]), self.out_channels),
        )

    @property
    def channels_out(self) -> int:
        return self.out_channels

    @property
    def shrinks(self) -> float:
        return self.strides[0] / 2


@dataclass(frozen=True, kw_only=True)
class TransFusionSpec:
    """Queries at the peaks of a heat map."""

    name: Literal["transfusion"] = "transfusion"
    channels: int = 128
    hidden: int = 256
    proposals: int = 200
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class CenterSpec:
    """CenterPoint's six tasks."""

    name: Literal["center"] = "center"
    channels: int = 64
    velocity_weight: float = 0.2


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """Map segmentation: cells of cell_m within reach_m."""

    name: Literal["map"] = "map"
    reach_m: float = 50.0
    cell_m: float = 0.5


def tiny_camera(spec: CameraSpec) -> CameraSpec:
    """Maps of 1.6 m cells."""
    backbone = spec.backbone
    if isinstance(backbone, SwinSpec):
        backbone = replace(
            backbone, channels=8, depths=(1, 1, 2, 1), heads=(2, 2, 4, 4), window=3, drop_path=0.0
        )
    else:
        backbone = replace(backbone, width=4, blocks=(1, 1, 1, 1))
    view = replace(
        spec.view, channels=8, depth_m=(1.0, 21.0, 2.0), cell_m=0.8 if spec.view.halves else 1.6
    )
    neck = replace(spec.neck, channels=16 if spec.neck.stride == 8 else 4)
    size = (48, 96) if neck.stride == 8 else (64, 128)
    return replace(spec, image_size=size, backbone=backbone, neck=neck, view=view)


def tiny_lidar(spec: VoxelNetSpec | PointPillarsSpec) -> VoxelNetSpec | PointPillarsSpec:
    """Maps of 1.6 m cells."""
    if isinstance(spec, VoxelNetSpec):
        return replace(spec, voxel_m=(0.2, 0.2, 0.2), channels=(4, 8, 8, 8))
    return replace(spec, pillar_m=1.6, channels=(8, 8), max_points=5)


def tiny_decoder(spec: SecondSpec | ResidualSpec) -> SecondSpec | ResidualSpec:
    if isinstance(spec, SecondSpec):
        stages = len(spec.channels)
        return replace(
            spec, channels=(8, 16, 16)[:stages], depths=(1, 1, 1)[:stages], up_channels=16
        )
    return replace(spec, channels=(8, 16, 16), blocks=1, out_channels=16)


def tiny_head(
    spec: TransFusionSpec | CenterSpec | MapSpec,
) -> TransFusionSpec | CenterSpec | MapSpec:
    if isinstance(spec, TransFusionSpec):
        return replace(spec, channels=16, hidden=16, proposals=20, dropout=0.0)
    if isinstance(spec, CenterSpec):
        return replace(spec, channels=8)
    return replace(spec, reach_m=20.0, cell_m=2.0)
