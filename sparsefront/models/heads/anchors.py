"""Anchor head of SECOND and PointPillars (Yan et al. 2018; Lang et al. 2019) as in mmdetection3d
before 1.0: boxes as differences to anchors of seven sizes and two turns at every cell.

Shape legend: B frames, X x Y cells (x slow), A anchors = X Y 14, K classes, M boxes. Boxes are
width, length, height with z of the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.models.heads.focal import sigmoid_focal_loss
from sparsefront.models.heads.nms import rotated_nms
from sparsefront.models.precision import at_least_float32

SIZES_M = (
    (1.95017717, 4.60718145, 1.72270761),  # car
    (2.4560939, 6.73778078, 2.73004906),  # truck
    (2.87427237, 12.01320693, 3.81509561),  # trailer
    (0.60058911, 1.68452161, 1.27192197),  # bicycle
    (0.66344886, 0.7256437, 1.75748069),  # pedestrian
    (0.39694519, 0.40359262, 1.06232151),  # traffic cone
    (2.49008838, 0.48578221, 0.98297065),  # barrier
)
BOTTOMS_M = (
    -1.80032795, -1.74440365, -1.68526504, -1.67339111, -1.61785072, -1.80984986, -1.763965,
)  # fmt: skip
TURNS = (0.0, 1.57)
REACH_M = 49.6
CODE, DIRECTIONS = 9, 2
DIRECTION_OFFSET = 0.7854
POSITIVE, NEGATIVE = 0.6, 0.3
BETA = 1 / 9
DIRECTION_WEIGHT, VELOCITY_WEIGHT = 0.2, 0.2
SCORE_THRESHOLD, OVERLAP, BEFORE_NMS, MAX_BOXES = 0.05, 0.2, 1000, 500
"""All numbers above are those of the published configuration (mmdetection3d)."""


class AnchorHead(nn.Module):
    """Outputs: class (logits) [B, A, K], box [B, A, 9], direction (logits) [B, A, 2]."""

    def __init__(self, channels_in: int, classes: int = 10) -> None:
        super().__init__()
        self.classes = classes
        each = len(SIZES_M) * len(TURNS)
        self.conv_cls = nn.Conv2d(channels_in, each * classes, 1)
        self.conv_reg = nn.Conv2d(channels_in, each * CODE, 1)
        self.conv_dir_cls = nn.Conv2d(channels_in, each * DIRECTIONS, 1)
        for layer in (self.conv_cls, self.conv_reg, self.conv_dir_cls):
            nn.init.normal_(layer.weight, std=0.01)
        assert self.conv_cls.bias is not None
        nn.init.constant_(self.conv_cls.bias, -math.log(99))  # prior probability of 0.01

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        """[B, C, X, Y] -> outputs"""
        found = {
            "class": self.conv_cls(bev), "box": self.conv_reg(bev),
            "direction": self.conv_dir_cls(bev),
        }  # fmt: skip
        sizes = {"class": self.classes, "box": CODE, "direction": DIRECTIONS}
        return {n: x.permute(0, 2, 3, 1).reshape(len(x), -1, sizes[n]) for n, x in found.items()}

    def losses(
        self, outputs: dict[str, Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """Focal loss of classes, smooth L1 of boxes (angles by the sine of their difference) and
        cross entropy of directions, over the number of anchors that have a box.
        """
        places = anchors_like(outputs["box"])
        goals = [
            assign_anchors(places, b, x, self.classes) for b, x in zip(boxes, labels, strict=True)
        ]
        matched = torch.stack([g.matched for g in goals])
        known = torch.stack([g.known for g in goals])
        count = matched.sum().clamp(min=1)
        logits = at_least_float32(outputs["class"])[known]
        wanted = torch.cat([g.labels[g.known] for g in goals])
        deltas = torch.cat([g.deltas[g.matched] for g in goals])
        directions = torch.cat([g.directions[g.matched] for g in goals])
        found = at_least_float32(outputs["box"])[matched]
        turned = at_least_float32(outputs["direction"])[matched]
        return {
            "class": sigmoid_focal_loss(logits, wanted) / count,
            "box": box_loss(found, deltas) / count,
            "direction": DIRECTION_WEIGHT
            * F.cross_entropy(turned, directions, reduction="sum") / count,
        }  # fmt: skip

    @torch.no_grad()
    def decode(self, outputs: dict[str, Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes [M, 9], scores, labels of each frame, best first; suppressed in each class."""
        places = anchors_like(outputs["box"])
        frames = []
        for logits, deltas, direction in zip(
            outputs["class"], outputs["box"], outputs["direction"], strict=True
        ):
            scores = at_least_float32(logits).sigmoid()
            most = min(BEFORE_NMS, len(scores))
            best = scores.amax(1).topk(most).indices
            boxes = decode_boxes(places[best], at_least_float32(deltas[best]))
            frames.append(self._suppress(boxes, scores[best], direction[best].argmax(1)))
        return frames

    def _suppress(
        self, boxes: Tensor, scores: Tensor, direction: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = []
        for label in range(self.classes):
            there = (scores[:, label] > SCORE_THRESHOLD).nonzero().flatten()
            flat = boxes[there][:, [0, 1, 3, 4, 6]]
            kept = there[rotated_nms(flat, scores[there, label], OVERLAP, len(there), len(there))]
            found.append((kept, scores[kept, label], torch.full_like(kept, label)))
        kept, score, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        order = score.argsort(descending=True, stable=True)[:MAX_BOXES]
        kept, score, labels = kept[order], score[order], labels[order]
        boxes = boxes[kept]
        yaw = boxes[:, 6] - DIRECTION_OFFSET
        yaw = yaw - torch.floor(yaw / math.pi) * math.pi + DIRECTION_OFFSET
        boxes[:, 6] = yaw + math.pi * direction[kept]
        return boxes, score, labels


@dataclass(frozen=True)
class AnchorTargets:
    """Of each anchor: labels [A] (K where none), deltas [A, 9], directions [A], whether it has a
    box (matched) and whether it counts at all (known).
    """

    labels: Tensor
    deltas: Tensor
    directions: Tensor
    matched: Tensor
    known: Tensor


def anchors_like(boxes: Tensor) -> Tensor:
    """Anchors [A, 9] of a square map, in the order of the outputs [B, A, 9]."""
    each = len(SIZES_M) * len(TURNS)
    cells = math.isqrt(boxes.shape[1] // each)
    centres = ((torch.arange(cells) + 0.5) / cells * 2 - 1) * REACH_M
    x, y = torch.meshgrid(centres, centres, indexing="ij")
    kinds = torch.tensor([
        [bottom + size[2] / 2, *size, turn, 0, 0]
        for size, bottom in zip(SIZES_M, BOTTOMS_M, strict=True)
        for turn in TURNS
    ])  # fmt: skip
    place = torch.stack([x, y], dim=-1).view(-1, 1, 2).expand(-1, each, 2)
    kind = kinds.expand(len(place), -1, -1)
    return torch.cat([place, kind], dim=2).flatten(0, 1).to(boxes.device)


def assign_anchors(anchors: Tensor, boxes: Tensor, labels: Tensor, classes: int) -> AnchorTargets:
    """An anchor takes the box it overlaps most, from 0.6 on; a box takes its best anchors, from 0.3
    on; anchors below 0.3 are background, others do not count. Overlap is of upright rectangles.
    """
    count = len(anchors)
    label = torch.full((count,), classes, device=anchors.device)
    deltas = anchors.new_zeros(count, CODE)
    direction = torch.zeros(count, dtype=torch.int64, device=anchors.device)
    if len(boxes) == 0:
        none = torch.zeros(count, dtype=torch.bool, device=anchors.device)
        return AnchorTargets(label, deltas, direction, none, ~none)
    overlap = upright_overlap(anchors, boxes)
    best, box = overlap.max(1)
    matched = best >= POSITIVE
    of_box = overlap.amax(0)
    at_best = (overlap == of_box) & (of_box >= NEGATIVE)
    box = torch.where(at_best.any(1), at_best.int().argmax(1), box)
    matched = matched | at_best.any(1)
    known = matched | (best < NEGATIVE)
    mine = boxes[box[matched]].nan_to_num()
    label[matched] = labels[box[matched]]
    deltas[matched] = encode_boxes(anchors[matched], mine)
    turned = torch.remainder(mine[:, 6] - DIRECTION_OFFSET, 2 * math.pi)
    direction[matched] = (turned / math.pi).floor().long().clamp(0, 1)
    return AnchorTargets(label, deltas, direction, matched, known)


def upright_overlap(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union [A, M] of ground rectangles turned to the nearest axis."""
    ours, theirs = _corners(anchors), _corners(boxes)
    low = torch.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = torch.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    areas = [(c[:, 2:] - c[:, :2]).prod(1) for c in (ours, theirs)]
    return common / (areas[0].unsqueeze(1) + areas[1] - common).clamp(min=1e-6)


def _corners(boxes: Tensor) -> Tensor:
    """x and y of the lower and the upper corner [M, 4]"""
    turned = (torch.remainder(boxes[:, 6] + math.pi / 4, math.pi) - math.pi / 4).abs()
    sides = boxes[:, 3:5]
    sides = torch.where((turned > math.pi / 4).unsqueeze(1), sides.flip(1), sides)
    return torch.cat([boxes[:, :2] - sides / 2, boxes[:, :2] + sides / 2], dim=1)


def encode_boxes(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Differences [M, 9] over the anchor's diagonal and height, sides by logarithm."""
    diagonal = torch.hypot(anchors[:, 3], anchors[:, 4]).unsqueeze(1)
    place = (boxes[:, :2] - anchors[:, :2]) / diagonal
    z = (boxes[:, 2:3] - anchors[:, 2:3]) / anchors[:, 5:6]
    sides = (boxes[:, 3:6] / anchors[:, 3:6]).log()
    return torch.cat([place, z, sides, boxes[:, 6:] - anchors[:, 6:]], dim=1)


def decode_boxes(anchors: Tensor, deltas: Tensor) -> Tensor:
    """The inverse of encode_boxes: boxes [M, 9] from anchors and differences [M, 9]."""
    diagonal = torch.hypot(anchors[:, 3], anchors[:, 4]).unsqueeze(1)
    place = deltas[:, :2] * diagonal + anchors[:, :2]
    z = deltas[:, 2:3] * anchors[:, 5:6] + anchors[:, 2:3]
    sides = deltas[:, 3:6].exp() * anchors[:, 3:6]
    return torch.cat([place, z, sides, deltas[:, 6:] + anchors[:, 6:]], dim=1)


def box_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Summed smooth L1 [N, 9]; sin(a - b) stands for the difference of angles."""
    sine = found[:, 6].sin() * wanted[:, 6].cos(), found[:, 6].cos() * wanted[:, 6].sin()
    found = torch.cat([found[:, :6], sine[0].unsqueeze(1), found[:, 7:]], dim=1)
    wanted = torch.cat([wanted[:, :6], sine[1].unsqueeze(1), wanted[:, 7:]], dim=1)
    weight = found.new_tensor([1.0] * 7 + [VELOCITY_WEIGHT] * 2)
    return (F.smooth_l1_loss(found, wanted, beta=BETA, reduction="none") * weight).sum()
