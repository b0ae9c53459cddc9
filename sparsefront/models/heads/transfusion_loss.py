"""TransFusion's training: Hungarian assignment of queries to boxes, heat map and box losses, with
the published BEVFusion's weights.

Boxes here are in the network's convention (sparsefront/models/convention.py), z of the centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sparsefront.models.convention import MIT, Convention
from sparsefront.models.heads.box_overlap import overlap_3d
from sparsefront.models.heads.focal import ALPHA, GAMMA, sigmoid_focal_loss
from sparsefront.models.heads.transfusion import REGRESSIONS, BoxCoder

CLASS_COST, CENTER_COST, OVERLAP_COST = 0.15, 0.25, 0.25
BOX_WEIGHT, VELOCITY_WEIGHT = 0.25, 0.2
"""Of the published configuration, as are those of the costs."""


@dataclass(frozen=True)
class QueryTargets:
    """What the queries of one frame should predict.

    labels [Q] int64 (K where none), boxes [Q, 10] encoded, matched [Q] bool, overlap [Q],
    heatmap [K, X, Y]
    """

    labels: Tensor
    boxes: Tensor
    matched: Tensor
    overlap: Tensor
    heatmap: Tensor


@torch.no_grad()
def query_targets(
    outputs: dict[str, Tensor], frame: int, boxes: Tensor, labels: Tensor, coder: BoxCoder,
    extent_m: tuple[float, float], convention: Convention = MIT,
) -> QueryTargets:  # fmt: skip
    """Targets of a frame from its boxes [M, 9] and labels [M], in the network's convention;
    extent_m is the grid's size.
    """
    logits = outputs["heatmap"][frame].float()  # [K, Q]
    classes, queries = logits.shape
    predicted = coder.decode({k: outputs[k][frame : frame + 1].float() for k in REGRESSIONS})[0]
    dense = outputs["dense_heatmap"][frame]
    found_labels = torch.full((queries,), classes, device=logits.device)
    found_boxes = logits.new_zeros(queries, 10)
    matched = torch.zeros(queries, dtype=torch.bool, device=logits.device)
    overlap = logits.new_zeros(queries)
    if len(boxes):
        ious = overlap_3d(*(MIT.encode(convention.decode(b)) for b in (predicted, boxes)))
        cost = CLASS_COST * focal_cost(logits.T, labels)
        cost = cost + CENTER_COST * center_cost(predicted, boxes, coder, extent_m)
        cost = cost - OVERLAP_COST * ious
        rows, columns = linear_sum_assignment(cost.cpu().double().numpy())
        row = torch.from_numpy(rows).to(boxes.device)
        column = torch.from_numpy(columns).to(boxes.device)
        found_labels[row], matched[row] = labels[column], True
        found_boxes[row] = coder.encode(boxes[column])
        overlap[row] = ious[row, column].clamp(0, 1)
    heat = class_heatmap(boxes, labels, coder, (classes, dense.shape[1], dense.shape[2]))
    return QueryTargets(found_labels, found_boxes, matched, overlap, heat)


def transfusion_loss(outputs: dict[str, Tensor], targets: list[QueryTargets]) -> dict[str, Tensor]:
    """heatmap, class and box losses, weighted; their sum is the task loss."""
    heat = torch.stack([t.heatmap for t in targets])
    labels = torch.cat([t.labels for t in targets])
    goal = torch.cat([t.boxes for t in targets])
    matched = torch.cat([t.matched for t in targets])
    count = matched.sum().clamp(min=1)
    logits = outputs["heatmap"].float().transpose(1, 2).flatten(0, 1)  # [B * Q, K]
    predicted = torch.cat([outputs[k].float() for k in REGRESSIONS], dim=1)  # [B, 10, Q]
    predicted = predicted.transpose(1, 2).flatten(0, 1)
    weights = goal.new_tensor([1.0] * 8 + [VELOCITY_WEIGHT] * 2) * matched.unsqueeze(1)
    return {
        "heatmap": heatmap_loss(outputs["dense_heatmap"].float(), heat),
        "class": sigmoid_focal_loss(logits, labels) / count,
        "box": BOX_WEIGHT * ((predicted - goal).abs() * weights).sum() / count,
    }


def heatmap_loss(logits: Tensor, goal: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Law & Deng 2018, eq. 1) over the number of centres; probabilities
    kept within 1e-4 and 1 - 1e-4.
    """
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = goal.eq(1)
    loss = torch.where(
        positive,
        (p + 1e-12).log() * (1 - p) ** 2,
        (1 - p + 1e-12).log() * p**2 * (1 - goal) ** 4,
    )
    return -loss.sum() / positive.sum().clamp(min=1)


def focal_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """[Q, K] logits and [M] labels -> [Q, M]"""
    p = logits.sigmoid()
    negative = -(1 - p + 1e-12).log() * (1 - ALPHA) * p**GAMMA
    positive = -(p + 1e-12).log() * ALPHA * (1 - p) ** GAMMA
    return positive[:, labels] - negative[:, labels]


def center_cost(
    predicted: Tensor, boxes: Tensor, coder: BoxCoder, extent_m: tuple[float, float]
) -> Tensor:
    """L1 distance of centres as shares of the grid: [Q, M]"""
    lower, extent = boxes.new_tensor(coder.lower_m), boxes.new_tensor(extent_m)
    ours, theirs = (predicted[:, :2] - lower) / extent, (boxes[:, :2] - lower) / extent
    return torch.cdist(ours, theirs, p=1)


def class_heatmap(
    boxes: Tensor, labels: Tensor, coder: BoxCoder, shape: tuple[int, int, int]
) -> Tensor:
    """Gaussians at the centres, [K, X, Y]; the largest counts where they meet."""
    heat = boxes.new_zeros(shape)
    step = boxes.new_tensor(coder.step_m)
    centers = (boxes[:, :2] - boxes.new_tensor(coder.lower_m)) / step
    sizes = boxes[:, 3:5] / step
    for center, size, label in zip(centers.tolist(), sizes.tolist(), labels.tolist(), strict=True):
        if min(size) > 0:
            radius = max(2, int(gaussian_radius(size[1], size[0])))
            draw_gaussian(heat[label], int(center[0]), int(center[1]), radius)
    return heat


def gaussian_radius(height: float, width: float, overlap: float = 0.1) -> float:
    """The radius within which a corner may move and still leave this overlap (CornerNet)."""
    total, area = height + width, width * height
    c1 = area * (1 - overlap) / (1 + overlap)
    r1 = (total + np.sqrt(total**2 - 4 * c1)) / 2
    r2 = (2 * total + np.sqrt(4 * total**2 - 16 * (1 - overlap) * area)) / 2
    b3 = -2 * overlap * total
    r3 = (b3 + np.sqrt(b3**2 - 16 * overlap * (overlap - 1) * area)) / 2
    return float(min(r1, r2, r3))


def draw_gaussian(heat: Tensor, x: int, y: int, radius: int) -> None:
    """Raises the map [X, Y] to a Gaussian of sigma (2 radius + 1) / 6 around a cell, in place."""
    cells_x, cells_y = heat.shape
    if not (0 <= x < cells_x and 0 <= y < cells_y):
        return
    sigma = (2 * radius + 1) / 6
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    bell = torch.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * sigma**2))
    bell[bell < torch.finfo(torch.float64).eps * bell.max()] = 0
    left, right = min(x, radius), min(cells_x - x, radius + 1)
    below, above = min(y, radius), min(cells_y - y, radius + 1)
    part = heat[x - left : x + right, y - below : y + above]
    mine = bell[radius - left : radius + right, radius - below : radius + above]
    part.copy_(torch.maximum(part, mine.to(part)))
