"""AVOD's training: both stages against labelled boxes. Where AVOD draws a few hundred candidates at
random, all take part here under a focal loss: nothing is left to chance.

Shape legend: A anchors, K proposals, M boxes, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsefront.models.avod.boxes import encode_corners, encode_upright, overlap, upright
from sparsefront.models.heads.focal import sigmoid_focal_loss

FIRST = (0.3, 0.5)
SECOND = (0.55, 0.65)
"""Below the first an anchor (a proposal) is background, from the second on it has the box."""
BOX_WEIGHT = 5.0


def first_stage(
    anchors: Tensor, logits: Tensor, offsets: Tensor, boxes: Tensor
) -> dict[str, Tensor]:
    """Objectness [A, 1] and offsets [A, 6] of a frame's anchors against boxes [M, 7]."""
    best, which = matches(anchors, boxes)
    has = best >= FIRST[1]
    if len(boxes):  # and the best anchor of each box
        of_box = overlap(anchors, upright(boxes)).max(0)
        near = of_box.indices[of_box.values >= FIRST[0]]
        has[near] = True
    found = {"objectness": sureness(logits, (~has).long(), has, best < FIRST[0])}
    wanted = encode_upright(anchors[has], upright(boxes)[which[has]])
    found["anchor"] = BOX_WEIGHT * mean_of_boxes(offsets[has], wanted)
    return found


def second_stage(
    proposals: Tensor, logits: Tensor, corners: Tensor, heading: Tensor, boxes: Tensor,
    labels: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Classes [K, C], corners [K, 10] and heading [K, 2] of a frame's proposals."""
    best, which = matches(proposals, boxes)
    has = best >= SECOND[1]
    goal = torch.full_like(which, logits.shape[1])
    goal[has] = labels[which[has]]
    mine = boxes[which[has]]
    wanted = encode_corners(proposals[has], mine)
    turned = torch.stack([mine[:, 6].cos(), mine[:, 6].sin()], dim=1)
    return {
        "class": sureness(logits, goal, has, best < SECOND[0]),
        "corners": BOX_WEIGHT * mean_of_boxes(corners[has], wanted),
        "heading": mean_of_boxes(heading[has], turned),
    }


def matches(candidates: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest overlap on the ground of each candidate [A, 6], and with which box."""
    if len(boxes) == 0:
        nothing = candidates.new_zeros(len(candidates))
        return nothing, nothing.long()
    best, which = overlap(candidates, upright(boxes)).max(1)
    return best, which


def sureness(logits: Tensor, goal: Tensor, has: Tensor, background: Tensor) -> Tensor:
    """Sigmoid focal loss of those that have a box [M, C] and of all backgrounds, over the number of
    the first.
    """
    counts = has | background
    return sigmoid_focal_loss(logits[counts].float(), goal[counts]) / has.sum().clamp(min=1)


def mean_of_boxes(found: Tensor, wanted: Tensor) -> Tensor:
    """Smooth L1, summed over numbers, a mean over boxes; 0 without any."""
    loss = F.smooth_l1_loss(found.float(), wanted, beta=1 / 9, reduction="none")
    return loss.sum() / max(len(wanted), 1)
