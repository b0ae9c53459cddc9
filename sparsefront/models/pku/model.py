"""Camera and LiDAR streams that could each detect alone, joined before the head.

Boxes and images inside are in the spec's convention, outside in SensorBatch's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models.camera.lift_splat import Bounds, LiftGrid, LiftSplat, conv_layers
from sparsefront.models.camera.neck import Fpnc
from sparsefront.models.camera.swin import DualSwin
from sparsefront.models.conv_norm import ConvNorm
from sparsefront.models.convention import CENTRED, Convention
from sparsefront.models.decoder import Decoder
from sparsefront.models.fusion_model import NOTHING_MASKED, FusionModel, Task
from sparsefront.models.heads.anchors import AnchorHead
from sparsefront.models.heads.center_tasks import CIRCLE_TASKS, CenterTasksHead
from sparsefront.models.heads.transfusion import REGRESSIONS, BoxCoder, TransFusionHead
from sparsefront.models.heads.transfusion_loss import query_targets, transfusion_loss
from sparsefront.models.lidar.pillars import Pillars, VoxelFeatures
from sparsefront.models.lidar.second import SecondEncoder
from sparsefront.models.mit.parts import (
    PointPillarsSpec,
    SecondSpec,
    SwinSpec,
    TransFusionSpec,
    VoxelNetSpec,
)
from sparsefront.models.precision import full_precision
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections, SensorBatch, Targets

Head = TransFusionHead | CenterTasksHead | AnchorHead
MODALITIES = ("camera", "lidar")


class HeightLift(LiftSplat):
    """Lift and splat that keeps height: the slices join the channels, convolutions mix them.

    Features stand for a plane of image_size pixels, whatever the size of the images.
    """

    def __init__(
        self, channels_in: int, channels: int, grid: LiftGrid, widths: tuple[int, ...]
    ) -> None:
        super().__init__(grid, channels, halves=False)
        self.depthnet = nn.Conv2d(channels_in, self.bins + channels, 1)
        entering = channels * self.geometry.cells[2]
        layers: list[nn.Module] = []
        for width in (entering, *widths):
            layers += conv_layers(entering, width, 3, 1, bias=False)
            entering = width
        self.bevencode = nn.Sequential(*layers)

    def forward(self, features: Tensor, batch: SensorBatch) -> Tensor:
        """features [B * N, Cin, h, w] -> BEV [B, C, X, Y]"""
        lifted = self.to_bev(self.depthnet(features), self.lidar_to_plane(batch))
        out: Tensor = self.bevencode(lifted)
        return out

    @full_precision
    def lidar_to_plane(self, batch: SensorBatch) -> Tensor:
        """[B, N, 4, 4]: lidar_to_image for images of image_size."""
        height, width = batch.images.shape[-2:]
        to_plane = torch.eye(4).to(batch.lidar_to_image)
        to_plane[0, 0] = self.image_size[1] / width
        to_plane[1, 1] = self.image_size[0] / height
        return to_plane @ batch.lidar_to_image


class CameraStream(nn.Module):
    """Images to a BEV map."""

    def __init__(self, spec: BEVFusionPKU) -> None:
        super().__init__()
        swin = spec.swin
        self.convention = spec.convention
        self.backbone = DualSwin(
            swin.channels, swin.depths, swin.heads, swin.window, swin.drop_path
        )
        size = (spec.plane[0] // spec.stride, spec.plane[1] // spec.stride)
        maps = tuple(swin.channels * 2**i for i in range(len(swin.depths)))
        self.neck = Fpnc(maps, spec.neck_channels, size)
        side = (-spec.half_side_m, spec.half_side_m, spec.cell_m)
        grid = LiftGrid(
            image_size=spec.plane, feature_size=size, x=side, y=side,
            z=(*spec.heights_m, spec.cell_m), depth=spec.depth_m,
        )  # fmt: skip
        widths = (*spec.view_widths, spec.neck_channels)
        self.view = HeightLift(spec.neck_channels, spec.lifted_channels, grid, widths)

    def forward(self, batch: SensorBatch) -> Tensor:
        images = self.convention.images(batch.images)
        features = self.neck(self.backbone(images.flatten(0, 1)))
        out: Tensor = self.view(features, batch)
        return out


class HardPillars(Pillars):
    """Pillars with SECOND's voxel features."""

    def point_network(self, channels: tuple[int, ...]) -> nn.Module:
        return VoxelFeatures(channels, self.lower_m, self.voxel_m)


class LidarStream(nn.Module):
    """Points to a BEV map, its own backbone and neck included."""

    def __init__(self, spec: BEVFusionPKU) -> None:
        super().__init__()
        side, (low, high) = spec.half_side_m, spec.heights_m
        self.encoder: SecondEncoder | HardPillars
        if isinstance(spec.lidar, VoxelNetSpec):
            self.encoder = spec.lidar.build(side)
        else:
            pillar = (spec.lidar.pillar_m, spec.lidar.pillar_m, high - low)
            self.encoder = HardPillars(
                spec.lidar.channels, (-side, -side, low), (side, side, high), pillar,
                spec.lidar.max_points, spec.lidar.max_voxels,
            )  # fmt: skip
        decoder: Decoder = spec.decoder.build(self.encoder.channels_out)
        self.backbone, self.neck = decoder.backbone, decoder.neck

    def forward(self, batch: SensorBatch) -> Tensor:
        out: Tensor = self.neck(self.backbone(self.encoder(batch.points)))
        return out


class ChannelGate(nn.Module):
    """Channels weighted by their own means (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.att = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.att(x)
        return out


class Fusion(nn.Module):
    """Both maps joined by a convolution, gated, and a head."""

    def __init__(self, spec: BEVFusionPKU) -> None:
        super().__init__()
        channels = spec.decoder.channels_out
        conv = nn.Conv2d(channels + spec.neck_channels, channels, 3, padding=1, bias=False)
        self.fuser = ConvNorm(conv, nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01))
        self.gate = ChannelGate(channels)
        self.head = build_head(spec, channels)

    def join(self, camera: Tensor, lidar: Tensor) -> Tensor:
        """Joins the maps, the camera's first, resized to the LiDAR's."""
        if camera.shape[2:] != lidar.shape[2:]:
            camera = F.interpolate(camera, lidar.shape[2:], mode="bilinear", align_corners=True)
        out: Tensor = self.gate(self.fuser(torch.cat([camera, lidar], dim=1)))
        return out


class PkuBEVFusion(FusionModel):
    """The BEVFusion that a spec describes."""

    def __init__(self, spec: BEVFusionPKU) -> None:
        super().__init__()
        self.spec = spec
        self.camera, self.lidar = CameraStream(spec), LidarStream(spec)
        self.fusion = Fusion(spec)

    def features(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        if unknown := masked - set(MODALITIES):
            raise InputError(f"masked: {sorted(unknown)} unknown; allowed: {list(MODALITIES)}")
        like: Tensor = next(self.fusion.parameters())
        cells = round(2 * self.spec.half_side_m / self.spec.cell_m)
        shapes = {"camera": self.spec.neck_channels, "lidar": self.spec.decoder.channels_out}
        streams = {"camera": self.camera, "lidar": self.lidar}
        maps = {
            name: like.new_zeros(len(batch), shapes[name], cells, cells)
            if name in masked
            else stream(batch)
            for name, stream in streams.items()
        }
        return {**maps, "fusion": self.fusion.join(maps["camera"], maps["lidar"])}

    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        out: dict[str, Tensor] = self.fusion.head(features["fusion"])
        return out

    def task_loss(self, outputs: dict[str, Tensor], batch: SensorBatch) -> Tensor:
        return torch.stack(list(self.losses(outputs, batch).values())).sum()

    def losses(self, outputs: dict[str, Tensor], batch: SensorBatch) -> dict[str, Tensor]:
        """Every term, weighted, by name."""
        head = self.fusion.head
        inside = [self._inside(t) for t in batch.targets]
        if not isinstance(head, TransFusionHead):
            return head.losses(outputs, [b for b, _ in inside], [x for _, x in inside])
        side = 2 * self.spec.half_side_m
        goals = [
            query_targets(
                outputs, frame, boxes.nan_to_num(), labels, head.coder, (side, side),
                self.spec.convention,
            )
            for frame, (boxes, labels) in enumerate(inside)
        ]  # fmt: skip
        return transfusion_loss(outputs, goals)

    def predict(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> list[Detections]:
        with torch.no_grad():
            outputs = self(batch, masked)
            found = []
            for boxes, scores, labels in self.fusion.head.decode(outputs):
                order = scores.argsort(descending=True, stable=True)
                ours = self.spec.convention.decode(boxes[order])
                classes = self._ours().to(labels.device)[labels[order]]
                found.append(Detections(boxes=ours, scores=scores[order], labels=classes))
        return found

    def unprunable(self) -> frozenset[str]:
        prefix, head = "fusion.head", self.fusion.head
        if isinstance(head, CenterTasksHead):
            return head.last_weights(prefix)
        if isinstance(head, AnchorHead):
            names = ("conv_cls", "conv_reg", "conv_dir_cls")
            return frozenset(f"{prefix}.{name}.weight" for name in names)
        last = [f"prediction_heads.0.{n}.1" for n in (*REGRESSIONS, "heatmap")]
        return frozenset(
            f"{prefix}.{name}.weight" for name in (*last, "heatmap_head.1", "class_encoding")
        )

    def _ours(self) -> Tensor:
        """Number among DETECTION_CLASSES of each class of the head."""
        return torch.tensor([DETECTION_CLASSES.index(name) for name in self.spec.classes])

    def _inside(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Boxes with their centre on the grid, as the network has them, and its class numbers."""
        kept = (targets.boxes[:, :2].abs() < self.spec.half_side_m).all(1)
        labels = self._ours().argsort().to(targets.labels.device)[targets.labels[kept]]
        return self.spec.convention.encode(targets.boxes[kept]), labels


def build_head(spec: BEVFusionPKU, channels: int) -> Head:
    """The head over the joined map."""
    if spec.head == "anchors":
        return AnchorHead(channels)
    side, cell = spec.half_side_m, spec.cell_m
    coder = BoxCoder(
        step_m=(cell, cell), lower_m=(-side, -side), height=spec.convention.height
    )  # fmt: skip
    if isinstance(spec.head, TransFusionSpec):
        return TransFusionHead(
            channels, spec.head.channels, proposals=spec.head.proposals, hidden=spec.head.hidden,
            dropout=spec.head.dropout, coder=coder,
        )  # fmt: skip
    return CenterTasksHead(channels, spec.center_channels, coder, tasks=CIRCLE_TASKS, adapts=True)


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
