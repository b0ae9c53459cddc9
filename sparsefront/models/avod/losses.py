"""AVOD's losses: both stages against labelled boxes. Where AVOD draws a few hundred candidates at
random, all take part here under a focal loss, so that the loss is deterministic.

Shape legend: A anchors, K proposals, M boxes, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsefront.models.avod.boxes import encode_corners, encode_upright, ground_overlap, to_upright
from sparsefront.models.heads.focal import sigmoid_focal_loss

FIRST_STAGE_OVERLAPS = (0.3, 0.5)
SECOND_STAGE_OVERLAPS = (0.55, 0.65)
"""Below the first an anchor (a proposal) is background; from the second on it has the box."""
BOX_WEIGHT = 5.0


def first_stage_losses(
    anchors: Tensor, logits: Tensor, offsets: Tensor, boxes: Tensor
) -> dict[str, Tensor]:
    """Objectness [A, 1] and offsets [A, 6] of a frame's anchors against boxes [M, 7]."""
    best, which = match_boxes(anchors, boxes)
    has = best >= FIRST_STAGE_OVERLAPS[1]
    if len(boxes):  # and the best anchor of each box
        of_box = ground_overlap(anchors, to_upright(boxes)).max(0)
        near = of_box.indices[of_box.values >= FIRST_STAGE_OVERLAPS[0]]
        has[near] = True
    found = {"objectness": focal_loss(logits, (~has).long(), has, best < FIRST_STAGE_OVERLAPS[0])}
    wanted = encode_upright(anchors[has], to_upright(boxes)[which[has]])
    found["anchor"] = BOX_WEIGHT * mean_box_loss(offsets[has], wanted)
    return found


def second_stage_losses(
    proposals: Tensor, logits: Tensor, corners: Tensor, heading: Tensor, boxes: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Classes [K, C], corners [K, 10] and heading [K, 2] of a frame's proposals."""
    best, which = match_boxes(proposals, boxes)
    has = best >= SECOND_STAGE_OVERLAPS[1]
    goal = torch.full_like(which, logits.shape[1])
    goal[has] = labels[which[has]]
    mine = boxes[which[has]]
    wanted = encode_corners(proposals[has], mine)
    turned = torch.stack([mine[:, 6].cos(), mine[:, 6].sin()], dim=1)
    return {
        "class": focal_loss(logits, goal, has, best < SECOND_STAGE_OVERLAPS[0]),
        "corners": BOX_WEIGHT * mean_box_loss(corners[has], wanted),
        "heading": mean_box_loss(heading[has], turned),
    }


def match_boxes(candidates: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest overlap on the ground of each candidate [A, 6], and with which box."""
    if len(boxes) == 0:
        nothing = candidates.new_zeros(len(candidates))
        return nothing, nothing.long()
    best, which = ground_overlap(candidates, to_upright(boxes)).max(1)
    return best, which


def focal_loss(logits: Tensor, goal: Tensor, has: Tensor, background: Tensor) -> Tensor:
    """Sigmoid focal loss of those that have a box [M, C] and of all backgrounds, over the number of
    the first.
    """
    counts = has | background
    return sigmoid_focal_loss(logits[counts].float(), goal[counts]) / has.sum().clamp(min=1)


def mean_box_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Smooth L1, summed over numbers, a mean over boxes; 0 without any."""
    loss = F.smooth_l1_loss(found.float(), wanted, beta=1 / 9, reduction="none")
    return loss.sum() / max(len(wanted), 1)
