"""BEVFusion as published (Liu et al., ICRA 2023; revision db75150): detection from camera + LiDAR
or from LiDAR alone.

Parts have the published parameter names below encoders, fuser, decoder and heads; checkpoint/mit.py
translates the rest. Boxes inside are in the published convention, outside in SensorBatch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from models.camera.depth_lss import Bounds, DepthLss
from models.camera.neck import GeneralizedLssFpn
from models.camera.swin import Swin
from models.decoder import SecondBackbone, SecondDecoder, SecondFpn
from models.fuser import ConcatConv
from models.fusion_model import NOTHING_MASKED, FusionModel
from models.heads.transfusion import REGRESSIONS, BoxCoder, TransFusionHead
from models.heads.transfusion_loss import query_targets, transfusion_loss
from models.lidar.second import SecondEncoder
from scenes.batch import Detections, SensorBatch, Targets

HEADS = (*REGRESSIONS, "heatmap")
STRIDE = 8
"""Image pixels a feature pixel, and voxels a BEV cell."""


@dataclass(frozen=True, kw_only=True)
class BEVFusionMIT:
    """The published camera + LiDAR detector; every default is the published number."""

    name: str = "mit_bevfusion-det"
    sensors: tuple[str, ...] = ("camera", "lidar")
    image_size: tuple[int, int] = (256, 704)
    swin_channels: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    drop_path: float = 0.2
    neck_channels: int = 256
    camera_bev_channels: int = 80
    depth_bins_m: Bounds = (1.0, 60.0, 0.5)
    half_side_m: float = 54.0
    heights_m: tuple[float, float] = (-5.0, 3.0)
    voxel_m: tuple[float, float, float] = (0.075, 0.075, 0.2)
    max_voxels: tuple[int, int] = (120_000, 160_000)
    sparse_channels: tuple[int, ...] = (16, 32, 64, 128)
    fused_channels: int = 256
    decoder_channels: tuple[int, ...] = (128, 256)
    decoder_depths: tuple[int, ...] = (5, 5)
    decoder_up: tuple[int, ...] = (256, 256)
    head_channels: int = 128
    head_hidden: int = 256
    proposals: int = 200
    dropout: float = 0.1

    def build(self) -> MitBEVFusion:
        return MitBEVFusion(self)

    def tiny(self) -> BEVFusionMIT:
        """Every part at a size for tests: 48 x 96 images, 64 BEV cells of 0.8 m."""
        return replace(
            self, image_size=(48, 96), swin_channels=8, swin_depths=(1, 1, 2, 1),
            swin_heads=(2, 2, 4, 4),
            window=3, drop_path=0.0, neck_channels=16, camera_bev_channels=8,
            depth_bins_m=(1.0, 21.0, 2.0), half_side_m=25.6, voxel_m=(0.4, 0.4, 0.2),
            sparse_channels=(4, 8, 8, 8), fused_channels=16, decoder_channels=(8, 16),
            decoder_depths=(1, 1), decoder_up=(16, 16), head_channels=16, head_hidden=16,
            proposals=20, dropout=0.0,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FusionDetectorMIT(BEVFusionMIT):
    """Camera and LiDAR."""

    name: Literal["mit_bevfusion-det"] = "mit_bevfusion-det"


@dataclass(frozen=True, kw_only=True)
class LidarDetectorMIT(BEVFusionMIT):
    """LiDAR alone, voxels of 0.075 m."""

    name: Literal["mit_lidar-only-det"] = "mit_lidar-only-det"
    sensors: tuple[str, ...] = ("lidar",)


@dataclass(frozen=True, kw_only=True)
class CoarseLidarDetectorMIT(BEVFusionMIT):
    """LiDAR alone, voxels of 0.1 m within 51.2 m."""

    name: Literal["mit_lidar-voxelnet-0p1-det"] = "mit_lidar-voxelnet-0p1-det"
    sensors: tuple[str, ...] = ("lidar",)
    half_side_m: float = 51.2
    voxel_m: tuple[float, float, float] = (0.1, 0.1, 0.2)
    max_voxels: tuple[int, int] = (90_000, 120_000)


class CameraStream(nn.Module):
    """Images to a BEV map."""

    def __init__(self, spec: BEVFusionMIT) -> None:
        super().__init__()
        width = spec.swin_channels
        self.backbone = Swin(width, spec.swin_depths, spec.swin_heads, spec.window, spec.drop_path)
        self.neck = GeneralizedLssFpn((2 * width, 4 * width, 8 * width), spec.neck_channels)
        height, across = spec.image_size
        side = spec.half_side_m
        cell = spec.voxel_m[0] * STRIDE / 2  # before the stride-2 convolution
        self.vtransform = DepthLss(
            spec.neck_channels, spec.camera_bev_channels, spec.image_size,
            (height // STRIDE, across // STRIDE), (-side, side, cell), (-side, side, cell),
            (-10.0, 10.0, 20.0), spec.depth_bins_m,
        )  # fmt: skip

    def forward(self, batch: SensorBatch) -> Tensor:
        maps = self.neck(self.backbone(batch.images.flatten(0, 1)))
        out: Tensor = self.vtransform(maps[0], batch)
        return out

    @property
    def channels_out(self) -> int:
        return self.vtransform.channels_out


class LidarStream(nn.Module):
    """Points to a BEV map."""

    def __init__(self, spec: BEVFusionMIT) -> None:
        super().__init__()
        side, (low, high) = spec.half_side_m, spec.heights_m
        self.backbone = SecondEncoder(
            spec.sparse_channels, (-side, -side, low), (side, side, high), spec.voxel_m,
            max_voxels=spec.max_voxels,
        )  # fmt: skip

    def forward(self, batch: SensorBatch) -> Tensor:
        out: Tensor = self.backbone(batch.points)
        return out

    @property
    def channels_out(self) -> int:
        return self.backbone.channels_out


STREAMS: dict[str, type[CameraStream] | type[LidarStream]] = {
    "camera": CameraStream,
    "lidar": LidarStream,
}


class Fusion(nn.Module):
    """The BEV maps to head outputs; a single one needs no fuser."""

    def __init__(self, spec: BEVFusionMIT, channels_in: int) -> None:
        super().__init__()
        self.fuser = None
        if len(spec.sensors) > 1:
            self.fuser = ConcatConv(channels_in, spec.fused_channels)
            channels_in = spec.fused_channels
        self.decoder = SecondDecoder(
            SecondBackbone(channels_in, spec.decoder_channels, spec.decoder_depths),
            SecondFpn(spec.decoder_channels, spec.decoder_up),
        )
        cell = spec.voxel_m[0] * STRIDE
        side = spec.half_side_m
        coder = BoxCoder(step_m=(cell, cell), lower_m=(-side, -side))
        head = TransFusionHead(
            sum(spec.decoder_up), spec.head_channels, proposals=spec.proposals,
            hidden=spec.head_hidden, dropout=spec.dropout, coder=coder,
        )  # fmt: skip
        self.heads = nn.ModuleDict({"object": head})


class MitBEVFusion(FusionModel):
    """One stream a sensor, fused in bird's-eye view, with a TransFusion head."""

    def __init__(self, spec: BEVFusionMIT) -> None:
        super().__init__()
        self.spec = spec
        for sensor in spec.sensors:
            self.add_module(sensor, STREAMS[sensor](spec))
        self.fusion = Fusion(spec, sum(self.stream(s).channels_out for s in spec.sensors))

    def features(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        sensors = self.spec.sensors
        if unknown := masked - set(sensors):
            raise ValueError(f"masked: {sorted(unknown)} unknown; allowed: {list(sensors)}")
        if "camera" in sensors and tuple(batch.images.shape[-2:]) != self.spec.image_size:
            raise ValueError(
                f"image: {tuple(batch.images.shape[-2:])}; allowed for {self.spec.name}: "
                f"{self.spec.image_size} (height, width)"
            )
        maps = {s: self._map(self.stream(s), batch, s in masked) for s in sensors}
        fuser = self.fusion.fuser
        fused = maps[sensors[0]] if fuser is None else fuser(*maps.values())
        return {**maps, "fusion": fused}

    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = self.head(self.fusion.decoder(features["fusion"]))
        return out

    def task_loss(self, outputs: dict[str, Tensor], batch: SensorBatch) -> Tensor:
        return torch.stack(list(self.losses(outputs, batch).values())).sum()

    def losses(self, outputs: dict[str, Tensor], batch: SensorBatch) -> dict[str, Tensor]:
        """heatmap, class and box losses."""
        extent = (2 * self.spec.half_side_m, 2 * self.spec.half_side_m)
        found = []
        for frame, targets in enumerate(batch.targets):
            boxes, labels = self._inside(targets)
            found.append(query_targets(outputs, frame, boxes, labels, self.head.coder, extent))
        return transfusion_loss(outputs, found)

    def predict(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> list[Detections]:
        with torch.no_grad():
            outputs = self(batch, masked)
            return [
                Detections(boxes=from_published(boxes), scores=scores, labels=labels)
                for boxes, scores, labels in self.head.decode(outputs)
            ]

    def unprunable(self) -> frozenset[str]:
        prefix = "fusion.heads.object"
        last = [f"{prefix}.prediction_heads.0.{n}.1.weight" for n in HEADS]
        return frozenset(
            [*last, f"{prefix}.heatmap_head.1.weight", f"{prefix}.class_encoding.weight"]
        )

    def stream(self, sensor: str) -> CameraStream | LidarStream:
        found = getattr(self, sensor)
        assert isinstance(found, (CameraStream, LidarStream))
        return found

    @property
    def head(self) -> TransFusionHead:
        head = self.fusion.heads["object"]
        assert isinstance(head, TransFusionHead)
        return head

    def _map(self, stream: CameraStream | LidarStream, batch: SensorBatch, masked: bool) -> Tensor:
        if masked:
            like: Tensor = next(self.fusion.parameters())
            cells = round(2 * self.spec.half_side_m / (self.spec.voxel_m[0] * STRIDE))
            return like.new_zeros(len(batch.points), stream.channels_out, cells, cells)
        out: Tensor = stream(batch)
        return out

    def _inside(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Boxes with their centre on the grid, as published; unknown velocities are 0."""
        kept = (targets.boxes[:, :2].abs() < self.spec.half_side_m).all(1)
        return to_published(targets.boxes[kept]).nan_to_num(), targets.labels[kept]


def to_published(boxes: Tensor) -> Tensor:
    """[M, 9] of SensorBatch (length, width, height; yaw counter-clockwise from +x) to the published
    convention (width, length, height; yaw clockwise from -y).
    """
    yaw = -boxes[:, 6:7] - math.pi / 2
    return torch.cat([boxes[:, :3], boxes[:, [4, 3, 5]], yaw, boxes[:, 7:]], dim=1)


def from_published(boxes: Tensor) -> Tensor:
    """The way back; the map is its own inverse."""
    return to_published(boxes)
