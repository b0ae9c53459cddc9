"""BEVFusion (Liu et al., ICRA 2023) at a size that trains on a CPU, from the real parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.bev_grid import BevGrid
from sparsefront.models.camera.lift import DepthLift
from sparsefront.models.camera.neck import LssFpn
from sparsefront.models.camera.resnet import ResNet
from sparsefront.models.decoder import BevDecoder
from sparsefront.models.fuser import AnyFuser, ConvFuser, build_fuser, never_pruned
from sparsefront.models.fusion_model import NOTHING_MASKED, FramePrediction, FusionModel, Task
from sparsefront.models.heads.center import CenterHead
from sparsefront.models.heads.small_map_head import LAST_WEIGHT, SmallMapHead
from sparsefront.models.lidar.sparse_encoder import SparseEncoder
from sparsefront.scenes.batch import SensorBatch

MODALITIES = ("camera", "lidar")


@dataclass(frozen=True, kw_only=True)
class BEVFusionSmall:
    """Every number of the small BEVFusion: channels and blocks a stage, depth bins, grid.

    task   "map": a map head of map_channels in place of the box head
    fuser  how both BEV maps become one (sparsefront/models/fuser.py)
    """

    name: Literal["bevfusion-small"] = "bevfusion-small"
    task: Task = "detection"
    image_channels: tuple[int, int, int] = (24, 48, 96)
    image_blocks: tuple[int, int, int] = (1, 2, 2)
    neck_channels: int = 64
    depth_bins_m: tuple[float, float, float] = (1.0, 41.0, 1.0)
    camera_bev_channels: int = 32
    voxel_channels: tuple[int, int, int] = (16, 32, 48)
    lidar_bev_channels: int = 64
    fuser: AnyFuser = "concat"
    fused_channels: int = 64
    decoder_channels: tuple[int, int] = (64, 96)
    decoder_depth: int = 2
    head_channels: int = 64
    map_channels: int = 24
    max_boxes: int = 100
    score_threshold: float = 0.02
    half_side_m: float = 38.4
    cell_m: float = 1.2

    def build(self) -> SmallBEVFusion:
        return SmallBEVFusion(self)


class CameraBranch(nn.Module):
    """Images to a BEV map: backbone, neck, view transform."""

    def __init__(self, spec: BEVFusionSmall, grid: BevGrid) -> None:
        super().__init__()
        self.backbone = ResNet(spec.image_channels, spec.image_blocks)
        self.neck = LssFpn(spec.image_channels[1], spec.image_channels[2], spec.neck_channels)
        self.view = DepthLift(spec.neck_channels, spec.camera_bev_channels, spec.depth_bins_m, grid)

    def forward(self, batch: SensorBatch) -> Tensor:
        frames, cameras, _, height, width = batch.images.shape
        _, fine, coarse = self.backbone(batch.images.flatten(0, 1))
        features = self.neck(fine, coarse)
        out: Tensor = self.view(
            features.unflatten(0, (frames, cameras)),
            batch.points,
            batch.lidar_to_image,
            (height, width),
        )
        return out

    @property
    def channels_out(self) -> int:
        return self.view.channels_out


class LidarBranch(nn.Module):
    """Points to a BEV map."""

    def __init__(self, spec: BEVFusionSmall, grid: BevGrid) -> None:
        super().__init__()
        self.encoder = SparseEncoder(spec.voxel_channels, spec.lidar_bev_channels, grid)

    def forward(self, batch: SensorBatch) -> Tensor:
        out: Tensor = self.encoder(batch.points)
        return out

    @property
    def channels_out(self) -> int:
        return self.encoder.channels_out


class FusionBranch(nn.Module):
    """Both BEV maps to head outputs: fuser, decoder, head."""

    def __init__(self, spec: BEVFusionSmall, grid: BevGrid) -> None:
        super().__init__()
        channels = {"camera": spec.camera_bev_channels, "lidar": spec.lidar_bev_channels}
        self.fuser = build_fuser(spec.fuser, channels, spec.fused_channels, ConvFuser)
        up = spec.head_channels
        self.decoder = BevDecoder(
            spec.fused_channels, spec.decoder_channels, spec.decoder_depth, up
        )
        self.head = (
            SmallMapHead(2 * up, spec.map_channels, spec.half_side_m)
            if spec.task == "map"
            else CenterHead(2 * up, spec.head_channels, grid)
        )


class SmallBEVFusion(FusionModel):
    """Camera and LiDAR branches, fused in bird's-eye view, with a CenterPoint or a map head."""

    def __init__(self, spec: BEVFusionSmall) -> None:
        super().__init__()
        self.spec, self.task = spec, spec.task
        self.grid = grid = BevGrid(half_side_m=spec.half_side_m, cell_m=spec.cell_m)
        self.camera = CameraBranch(spec, grid)
        self.lidar = LidarBranch(spec, grid)
        self.fusion = FusionBranch(spec, grid)

    def features(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        unknown = masked - set(MODALITIES)
        if unknown:
            raise InputError(f"masked: {sorted(unknown)} unknown; allowed: {list(MODALITIES)}")
        camera = self._map(self.camera, batch, "camera" in masked)
        lidar = self._map(self.lidar, batch, "lidar" in masked)
        return {"camera": camera, "lidar": lidar, "fusion": self.fusion.fuser(camera, lidar)}

    def _map(self, branch: CameraBranch | LidarBranch, batch: SensorBatch, masked: bool) -> Tensor:
        if masked:
            like: Tensor = next(self.fusion.parameters())
            cells = self.grid.cells
            return like.new_zeros(len(batch.points), branch.channels_out, cells, cells)
        out: Tensor = branch(batch)
        return out

    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = self.fusion.head(self.fusion.decoder(features["fusion"]))
        return out

    def task_loss(self, outputs: dict[str, Tensor], batch: SensorBatch) -> Tensor:
        out: Tensor = self.fusion.head.loss(outputs, batch.targets)
        return out

    def predict(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> Sequence[FramePrediction]:
        with torch.no_grad():
            outputs = self(batch, masked)
        head = self.fusion.head
        if isinstance(head, SmallMapHead):
            return head.decode(outputs)
        return head.decode(outputs, self.spec.max_boxes, self.spec.score_threshold)

    def unprunable(self) -> frozenset[str]:
        head = self.fusion.head
        if isinstance(head, SmallMapHead):
            last = [LAST_WEIGHT]
        else:
            last = [f"branches.{b}.1.weight" for b in head.branches]
        return never_pruned(self.fusion.fuser) | {f"fusion.head.{name}" for name in last}
