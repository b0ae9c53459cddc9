"""AVOD-FPN: anchors fused from both views give proposals; proposals fused again give boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.avod.bev_maps import Ground, bev_maps, points_in_image
from sparsefront.models.avod.boxes import (
    anchor_grid,
    decode_corners,
    decode_upright,
    find_occupied,
    ground_overlap,
)
from sparsefront.models.avod.crops import areas_from_above, areas_in_image, crop
from sparsefront.models.avod.losses import first_stage_losses, second_stage_losses
from sparsefront.models.avod.pyramid import Pyramid
from sparsefront.models.convention import MIT
from sparsefront.models.fusion_model import NOTHING_MASKED, FusionModel, Task
from sparsefront.models.heads.nms import rotated_nms, suppress_greedily
from sparsefront.models.precision import at_least_float32
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections, SensorBatch, Targets

MODALITIES = ("camera", "lidar")
CALIBRATION, ANCHORS = "calibration", "anchors"
"""What the heads need besides maps, among the features: lidar_to_image, and anchors [sum A, 7] =
frame and upright box.
"""


class View(nn.Module):
    """A view's pyramid, and its reduction to one channel for the anchors."""

    def __init__(self, channels_in: int, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels_in, channels)
        self.bottleneck = nn.Sequential(
            nn.Conv2d(self.pyramid.channels_out, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pyramid(x)
        return out


class Fusion(nn.Module):
    """Both stages' fully connected layers."""

    def __init__(self, spec: AvodFpn) -> None:
        super().__init__()
        anchor = spec.anchor_samples**2
        self.objectness = linear_layers(anchor, (spec.anchor_width,) * 2, 1)
        self.offsets = linear_layers(anchor, (spec.anchor_width,) * 2, 6)
        seen = spec.channels[0] * spec.box_samples**2
        self.trunk = linear_layers(seen, (spec.box_width,) * 2, spec.box_width)
        self.classes = nn.Linear(spec.box_width, len(spec.classes))
        self.corners = nn.Linear(spec.box_width, 10)
        self.heading = nn.Linear(spec.box_width, 2)
        for last in (self.objectness[-1], self.classes):
            assert isinstance(last, nn.Linear)
            nn.init.constant_(last.bias, -math.log(99))  # prior probability of 0.01


class Avod(FusionModel):
    """The AVOD-FPN that a spec describes; it reads one camera a frame."""

    def __init__(self, spec: AvodFpn) -> None:
        super().__init__()
        self.spec = spec
        self.camera = View(3, spec.channels)
        self.lidar = View(spec.ground.slices + 1, spec.channels)
        self.fusion = Fusion(spec)
        self.anchors: Tensor
        grid = anchor_grid(spec.ground, spec.sizes_m, spec.anchor_step_m)
        self.register_buffer("anchors", grid, persistent=False)

    def features(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        """Maps in the image's plane (camera) and from above (lidar), and the crops of all anchors
        from both [sum A, s * s] (fusion).
        """
        if unknown := masked - set(MODALITIES):
            raise InputError(f"masked: {sorted(unknown)} unknown; allowed: {list(MODALITIES)}")
        above = bev_maps([points_in_image(batch, f) for f in range(len(batch))], self.spec.ground)
        above = above.to(next(self.parameters()).dtype)
        camera = self.camera(batch.images[:, 0].to(above.dtype))
        lidar = self.lidar(above)
        camera = torch.zeros_like(camera) if "camera" in masked else camera
        lidar = torch.zeros_like(lidar) if "lidar" in masked else lidar
        found = []
        everywhere = self.anchors.to(batch.lidar_to_image.dtype)
        for frame, density in enumerate(above[:, -1]):
            near = find_occupied(everywhere, density, self.spec.ground, self.spec.anchor_margin_m)
            mine = everywhere[near]
            found.append(torch.cat([torch.full_like(mine[:, :1], frame), mine], dim=1))
        anchors = torch.cat(found)
        narrow = (self.camera.bottleneck(camera), self.lidar.bottleneck(lidar))
        fused = self._fuse_crops(*narrow, anchors, batch.lidar_to_image, self.spec.anchor_samples)
        return {
            "camera": camera, "lidar": lidar, "fusion": fused, CALIBRATION: batch.lidar_to_image,
            ANCHORS: anchors,
        }  # fmt: skip

    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """First stage: objectness [sum A, 1], offsets [sum A, 6], anchors. Second, of the best
        proposals [B K, 7] = frame and upright box: classes, corners, heading [B K, *].
        """
        anchors, seen = features[ANCHORS], features["fusion"]
        objectness, offsets = self.fusion.objectness(seen), self.fusion.offsets(seen)
        proposals = self._proposals(anchors, objectness.detach(), offsets.detach())
        maps = features["camera"], features["lidar"]
        crops = self._fuse_crops(*maps, proposals, features[CALIBRATION], self.spec.box_samples)
        x = self.fusion.trunk(crops).relu()
        return {
            "objectness": objectness, "offsets": offsets, ANCHORS: anchors, "proposals": proposals,
            "classes": self.fusion.classes(x), "corners": self.fusion.corners(x),
            "heading": self.fusion.heading(x),
        }  # fmt: skip

    def task_loss(self, outputs: dict[str, Tensor], batch: SensorBatch) -> Tensor:
        return torch.stack(list(self.losses(outputs, batch).values())).sum()

    def losses(self, outputs: dict[str, Tensor], batch: SensorBatch) -> dict[str, Tensor]:
        """Every term by name, a mean over frames."""
        total: dict[str, Tensor] = {}
        for frame, targets in enumerate(batch.targets):
            boxes, labels = self._own_targets(targets)
            first = outputs[ANCHORS][:, 0] == frame
            second = outputs["proposals"][:, 0] == frame
            terms = first_stage_losses(
                outputs[ANCHORS][first, 1:], outputs["objectness"][first],
                outputs["offsets"][first], boxes,
            ) | second_stage_losses(
                outputs["proposals"][second, 1:], outputs["classes"][second],
                outputs["corners"][second], outputs["heading"][second], boxes, labels,
            )  # fmt: skip
            for name, value in terms.items():
                total[name] = total.get(name, 0.0) + value / len(batch)
        return total

    def predict(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> list[Detections]:
        with torch.no_grad():
            outputs = self(batch, masked)
        scores = at_least_float32(outputs["classes"]).sigmoid()
        boxes = decode_corners(
            outputs["proposals"][:, 1:], at_least_float32(outputs["corners"]),
            at_least_float32(outputs["heading"]),
        )  # fmt: skip
        frames = outputs["proposals"][:, 0]
        return [
            self._detections(boxes[frames == f], scores[frames == f]) for f in range(len(batch))
        ]

    def unprunable(self) -> frozenset[str]:
        return frozenset(
            f"fusion.{name}.weight"
            for name in ("objectness.4", "offsets.4", "classes", "corners", "heading")
        )

    def _fuse_crops(
        self, camera: Tensor, lidar: Tensor, boxes: Tensor, lidar_to_image: Tensor, samples: int
    ) -> Tensor:
        """Mean of both views' crops of boxes [M, 7] = frame and upright box: [M, C s s]"""
        size = (int(camera.shape[2]), int(camera.shape[3]))
        found = []
        for frame in range(len(camera)):
            mine = boxes[boxes[:, 0] == frame, 1:].to(lidar_to_image.dtype)
            front = areas_in_image(mine, lidar_to_image[frame, 0], size).to(camera.dtype)
            above = areas_from_above(mine, self.spec.ground).to(camera.dtype)
            pair = crop(camera[frame], front, samples) + crop(lidar[frame], above, samples)
            found.append((pair / 2).flatten(1))
        return torch.cat(found)

    @torch.no_grad()
    def _proposals(self, anchors: Tensor, objectness: Tensor, offsets: Tensor) -> Tensor:
        """The best `proposals` of each frame after suppression; repeated where there are fewer."""
        kept = []
        for frame in range(int(anchors[:, 0].max()) + 1 if len(anchors) else 0):
            mine = anchors[:, 0] == frame
            score = at_least_float32(objectness[mine, 0])
            most = min(self.spec.before_nms, len(score))
            best = score.topk(most).indices
            boxes = decode_upright(anchors[mine][best, 1:], at_least_float32(offsets[mine][best]))
            rows = suppress_greedily(
                ground_overlap(boxes, boxes) > self.spec.proposal_overlap, self.spec.proposals
            )
            rows = rows.repeat(-(-self.spec.proposals // len(rows)))[: self.spec.proposals]
            chosen = boxes[rows]
            kept.append(torch.cat([torch.full_like(chosen[:, :1], frame), chosen], dim=1))
        return torch.cat(kept) if kept else anchors[:0]

    def _detections(self, boxes: Tensor, scores: Tensor) -> Detections:
        found = []
        for label, name in enumerate(self.spec.classes):
            good = (scores[:, label] > self.spec.score_threshold).nonzero().flatten()
            flat = MIT.encode(torch.cat([boxes[good], boxes.new_zeros(len(good), 2)], dim=1))
            flat = flat[:, [0, 1, 3, 4, 6]]
            kept = good[rotated_nms(flat, scores[good, label], self.spec.box_overlap, 1000, 100)]
            number = DETECTION_CLASSES.index(name)
            found.append((kept, scores[kept, label], torch.full_like(kept, number)))
        kept, score, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        order = score.argsort(descending=True, stable=True)
        still = boxes.new_zeros(len(order), 2)
        whole = torch.cat([boxes[kept[order]], still], dim=1)
        return Detections(boxes=whole, scores=score[order], labels=labels[order])

    def _own_targets(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Boxes [M, 7] of its classes on the ground searched, and their numbers."""
        ground = self.spec.ground
        numbers = [DETECTION_CLASSES.index(name) for name in self.spec.classes]
        own = torch.full((len(DETECTION_CLASSES),), -1, device=targets.labels.device)
        own[numbers] = torch.arange(len(numbers), device=own.device)
        labels = own[targets.labels]
        x, y = targets.boxes[:, 0], targets.boxes[:, 1]
        inside = (x.abs() < ground.half_width) & (y > 0) & (y < ground.length) & (labels >= 0)
        return targets.boxes[inside, :7], labels[inside]


def linear_layers(channels_in: int, widths: tuple[int, ...], channels_out: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    found: list[nn.Module] = []
    for width in widths:
        found += [nn.Linear(channels_in, width), nn.ReLU()]
        channels_in = width
    return nn.Sequential(*found, nn.Linear(channels_in, channels_out))


@dataclass(frozen=True, kw_only=True)
class AvodFpn:
    """Channels of the pyramids, anchors, and both stages' crops and layers.

    sizes_m   length, width and height of the anchors
    anchor_margin_m  anchors farther than this from any point are left out
    samples   of a crop's side: anchors in one channel, proposals in all
    """

    task: ClassVar[Task] = "detection"
    name: Literal["avod-fpn"] = "avod-fpn"
    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    ground: Ground = field(default_factory=Ground)
    classes: tuple[str, ...] = ("car",)
    sizes_m: tuple[tuple[float, float, float], ...] = ((3.5, 1.6, 1.5), (4.2, 1.7, 1.5))
    anchor_step_m: float = 0.5
    anchor_margin_m: float = 0.0
    anchor_samples: int = 3
    anchor_width: int = 256
    before_nms: int = 2000
    proposals: int = 300
    proposal_overlap: float = 0.8
    box_samples: int = 7
    box_width: int = 2048
    score_threshold: float = 0.1
    box_overlap: float = 0.01

    def build(self) -> Avod:
        return Avod(self)

    def tiny(self) -> AvodFpn:
        """Every part at a size for tests: 20 x 20 m in cells of 0.4 m."""
        ground = replace(self.ground, half_width=10.0, length=20.0, cell_m=0.4)
        return replace(
            self, channels=(4, 8, 8, 8), ground=ground, anchor_step_m=2.0, anchor_width=8,
            before_nms=40, proposals=10, box_samples=3, box_width=8,
        )  # fmt: skip
