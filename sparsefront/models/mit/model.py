"""One stream a sensor, fused in bird's-eye view, a decoder and a head.

Parts have the published parameter names below encoders, fuser, decoder and heads;
sparsefront/models/checkpoint/dialects.py translates the rest. Boxes and images inside are in the
spec's convention, outside in SensorBatch's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.camera.bevdepth import BevDepth
from sparsefront.models.convention import MIT, Convention
from sparsefront.models.fuser import AnyFuser, ConcatConv, build_fuser, never_pruned, require_two
from sparsefront.models.fusion_model import NOTHING_MASKED, FramePrediction, FusionModel, Task
from sparsefront.models.heads.center_tasks import CenterTasksHead
from sparsefront.models.heads.map_head import MapHead, map_goal, map_losses
from sparsefront.models.heads.transfusion import REGRESSIONS, BoxCoder, TransFusionHead
from sparsefront.models.heads.transfusion_loss import query_targets, transfusion_loss
from sparsefront.models.mit.parts import (
    CameraSpec,
    CenterSpec,
    MapSpec,
    PointPillarsSpec,
    RadarSpec,
    ResidualSpec,
    SecondSpec,
    TransFusionSpec,
    VoxelNetSpec,
    tiny_camera,
    tiny_decoder,
    tiny_head,
    tiny_lidar,
)
from sparsefront.models.precision import at_least_float32
from sparsefront.scenes.batch import Detections, MapProbabilities, SensorBatch, Targets

Head = TransFusionHead | CenterTasksHead | MapHead
DEPTH = "depth"
"""Name of the depth logits among the outputs, where depth is supervised."""


class CameraStream(nn.Module):
    """Images to a BEV map."""

    def __init__(self, spec: CameraSpec, half_side_m: float, convention: Convention) -> None:
        super().__init__()
        self.convention = convention
        self.backbone = spec.build_backbone()
        self.neck = spec.build_neck()
        self.vtransform = spec.build_view(half_side_m)
        self.channels_out = spec.view.channels

    def forward(self, batch: SensorBatch) -> Tensor:
        out: Tensor = self.vtransform(self.image_features(batch), batch)
        return out

    def with_depth(self, batch: SensorBatch) -> tuple[Tensor, Tensor]:
        """The map, and the depth logits [B * N, D, h, w] that lifted it."""
        transform = self.vtransform
        assert isinstance(transform, BevDepth)
        predicted = transform.predict_depth(self.image_features(batch), batch)
        return transform.to_bev(predicted, batch.lidar_to_image), predicted[:, : transform.bins]

    def image_features(self, batch: SensorBatch) -> Tensor:
        """[B * N, C, h, w]"""
        images = self.convention.images(batch.images)
        maps = self.neck(self.backbone(images.flatten(0, 1)))
        found: Tensor = maps[0] if isinstance(maps, list) else maps
        return found


class PointStream(nn.Module):
    """LiDAR or radar points to a BEV map."""

    def __init__(self, backbone: Any, sensor: str) -> None:
        super().__init__()
        self.backbone, self.sensor = backbone, sensor
        self.channels_out = int(backbone.channels_out)

    def forward(self, batch: SensorBatch) -> Tensor:
        points = batch.points if self.sensor == "lidar" else batch.radar
        if points is None:
            raise InputError("batch: no radar; allowed: batches with radar points")
        out: Tensor = self.backbone(points)
        return out


class Fusion(nn.Module):
    """Fuser, decoder and head: BEV maps to head outputs; a single map needs no fuser."""

    def __init__(self, spec: BEVFusionMIT, maps: dict[str, int], cell_m: float) -> None:
        """maps: sensor -> channels of its map."""
        super().__init__()
        self.fuser = None
        channels_in = sum(maps.values())
        if len(maps) > 1:
            self.fuser = build_fuser(spec.fuser, maps, spec.fused_channels, ConcatConv)
            channels_in = spec.fused_channels
        self.decoder = spec.decoder.build(channels_in)
        name = "map" if isinstance(spec.head, MapSpec) else "object"
        head = build_head(spec, cell_m * spec.decoder.shrinks)
        self.heads = nn.ModuleDict({name: head})


class MitBEVFusion(FusionModel):
    """The BEVFusion that a spec describes."""

    def __init__(self, spec: BEVFusionMIT) -> None:
        super().__init__()
        self.spec = spec
        parts = {"camera": spec.camera, "lidar": spec.lidar, "radar": spec.radar}
        cells = {sensor: part.cell_out_m() for sensor, part in parts.items() if part is not None}
        self.sensors = tuple(cells)
        self.cell_m = common_cell_m(cells, spec.half_side_m)
        if spec.camera is not None:
            self.camera = CameraStream(spec.camera, spec.half_side_m, spec.convention)
        if spec.lidar is not None:
            self.lidar = PointStream(spec.lidar.build(spec.half_side_m), "lidar")
        if spec.radar is not None:
            self.radar = PointStream(spec.radar.build(spec.half_side_m), "radar")
        maps = {sensor: self.stream(sensor).channels_out for sensor in self.sensors}
        self.fusion = Fusion(spec, maps, self.cell_m)
        self.task = spec.task

    def features(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        if unknown := masked - set(self.sensors):
            raise InputError(f"masked: {sorted(unknown)} unknown; allowed: {list(self.sensors)}")
        size = self.spec.image_size
        if size is not None and tuple(batch.images.shape[-2:]) != size:
            raise InputError(
                f"image: {tuple(batch.images.shape[-2:])}; allowed for {self.spec.name}: {size} "
                "(height, width)"
            )
        found: dict[str, Tensor] = {}
        depth: dict[str, Tensor] = {}
        for sensor in self.sensors:
            stream = self.stream(sensor)
            if sensor in masked:
                found[sensor] = self._zero_map(stream.channels_out, len(batch))
            elif isinstance(stream, CameraStream) and isinstance(stream.vtransform, BevDepth):
                found[sensor], depth[DEPTH] = stream.with_depth(batch)
            else:
                found[sensor] = stream(batch)
        fuser = self.fusion.fuser
        fused = found[self.sensors[0]] if fuser is None else fuser(*found.values())
        return {**found, "fusion": fused, **depth}

    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.head(self.fusion.decoder(features["fusion"]))
        return {**outputs, **{k: v for k, v in features.items() if k == DEPTH}}

    def task_loss(self, outputs: dict[str, Tensor], batch: SensorBatch) -> Tensor:
        return torch.stack(list(self.losses(outputs, batch).values())).sum()

    def losses(self, outputs: dict[str, Tensor], batch: SensorBatch) -> dict[str, Tensor]:
        """Every term, weighted, by name."""
        head = self.head
        if isinstance(head, MapHead):
            found = map_losses(outputs["map"], map_goal(batch.targets))
        elif isinstance(head, CenterTasksHead):
            boxes, labels = zip(*(self._inside(t) for t in batch.targets), strict=True)
            found = head.losses(outputs, list(boxes), list(labels))
        else:
            found = self._query_losses(head, outputs, batch)
        if DEPTH in outputs:
            transform = self.camera.vtransform
            assert isinstance(transform, BevDepth)
            found[DEPTH] = transform.depth_loss(outputs[DEPTH], batch)
        return found

    def predict(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> list[FramePrediction]:
        with torch.no_grad():
            outputs = self(batch, masked)
            head = self.head
            if isinstance(head, MapHead):
                probabilities = at_least_float32(outputs["map"]).sigmoid()
                return [MapProbabilities(probabilities=one) for one in probabilities]
            return [
                best_first(self.spec.convention.decode(boxes), scores, labels)
                for boxes, scores, labels in head.decode(outputs)
            ]

    def unprunable(self) -> frozenset[str]:
        return self._last_weights() | never_pruned(self.fusion.fuser)

    def _last_weights(self) -> frozenset[str]:
        head = self.head
        if isinstance(head, MapHead):
            return frozenset({"fusion.heads.map.classifier.6.weight"})
        prefix = "fusion.heads.object"
        if isinstance(head, CenterTasksHead):
            return head.last_weights(prefix)
        last = [f"{prefix}.prediction_heads.0.{n}.1.weight" for n in (*REGRESSIONS, "heatmap")]
        return frozenset(
            [*last, f"{prefix}.heatmap_head.1.weight", f"{prefix}.class_encoding.weight"]
        )

    def stream(self, sensor: str) -> CameraStream | PointStream:
        found = getattr(self, sensor)
        assert isinstance(found, (CameraStream, PointStream))
        return found

    @property
    def head(self) -> Head:
        (head,) = self.fusion.heads.values()
        assert isinstance(head, (TransFusionHead, CenterTasksHead, MapHead))
        return head

    def _query_losses(
        self, head: TransFusionHead, outputs: dict[str, Tensor], batch: SensorBatch
    ) -> dict[str, Tensor]:
        extent = (2 * self.spec.half_side_m, 2 * self.spec.half_side_m)
        found = []
        for frame, targets in enumerate(batch.targets):
            boxes, labels = self._inside(targets)
            boxes = boxes.nan_to_num()
            found.append(
                query_targets(
                    outputs, frame, boxes, labels, head.coder, extent, self.spec.convention
                )
            )
        return transfusion_loss(outputs, found)

    def _zero_map(self, channels: int, frames: int) -> Tensor:
        like: Tensor = next(self.fusion.parameters())
        cells = round(2 * self.spec.half_side_m / self.cell_m)
        return like.new_zeros(frames, channels, cells, cells)

    def _inside(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Boxes with their centre on the grid, as the network has them."""
        kept = (targets.boxes[:, :2].abs() < self.spec.half_side_m).all(1)
        return self.spec.convention.encode(targets.boxes[kept]), targets.labels[kept]


def common_cell_m(cells: dict[str, float], half_side_m: float) -> float:
    """The width of a map's cells, m. InputError where the sensors' maps differ."""
    if not cells:
        raise InputError("camera: none, and no lidar or radar; allowed: at least one of them")
    counts = {sensor: round(2 * half_side_m / cell) for sensor, cell in cells.items()}
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"{sensor} {n} x {n}" for sensor, n in counts.items())
        raise InputError(f"cells of the maps: {sizes}; allowed: the same for all sensors")
    return next(iter(cells.values()))


def build_head(spec: BEVFusionMIT, cell_m: float) -> Head:
    """The head over a map of such cells."""
    channels, side = spec.decoder.channels_out, spec.half_side_m
    head = spec.head
    if isinstance(head, MapSpec):
        return MapHead(channels, side, head.reach_m, head.cell_m)
    coder = BoxCoder(step_m=(cell_m, cell_m), lower_m=(-side, -side), height=spec.convention.height)
    if isinstance(head, CenterSpec):
        return CenterTasksHead(channels, head.channels, coder, head.velocity_weight)
    return TransFusionHead(
        channels, head.channels, proposals=head.proposals, hidden=head.hidden,
        dropout=head.dropout, coder=coder,
    )  # fmt: skip


def best_first(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
    order = scores.argsort(descending=True, stable=True)
    return Detections(boxes=boxes[order], scores=scores[order], labels=labels[order])


@dataclass(frozen=True, kw_only=True)
class BEVFusionMIT:
    """A BEVFusion from its parts; the map reaches half_side_m in x and y. The published ones use
    the fuser concat; sparsefront/models/fuser.py has the others.
    """

    name: str = ""
    half_side_m: float = 51.2
    camera: CameraSpec | None = None
    lidar: VoxelNetSpec | PointPillarsSpec | None = None
    radar: RadarSpec | None = None
    fuser: AnyFuser = "concat"
    fused_channels: int = 256
    decoder: SecondSpec | ResidualSpec = field(default_factory=SecondSpec)
    head: TransFusionSpec | CenterSpec | MapSpec = field(default_factory=TransFusionSpec)
    convention: Convention = MIT

    def __post_init__(self) -> None:
        sensors = [part for part in (self.camera, self.lidar, self.radar) if part is not None]
        require_two(self.fuser, len(sensors), self.name)

    def build(self) -> MitBEVFusion:
        return MitBEVFusion(self)

    @property
    def task(self) -> Task:
        """What its model predicts."""
        return "map" if isinstance(self.head, MapSpec) else "detection"

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the images that it takes."""
        return None if self.camera is None else self.camera.image_size

    def tiny(self) -> BEVFusionMIT:
        """Every part at a size for tests: small images, 25.6 m, cells of 1.6 m."""
        return replace(
            self,
            half_side_m=25.6,
            camera=self.camera and tiny_camera(self.camera),
            lidar=self.lidar and tiny_lidar(self.lidar),
            radar=self.radar and replace(self.radar, pillar_m=1.6, channels=(8, 8)),
            fused_channels=16,
            decoder=tiny_decoder(self.decoder),
            head=tiny_head(self.head),
        )
