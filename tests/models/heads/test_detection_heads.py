"""Heads against cases worked out by hand: suppression, CenterPoint's tasks, anchors, maps."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from sparsefront.models.heads.anchors import (
    AnchorHead,
    anchors_like,
    assign,
    box_loss,
    decode_boxes,
    encode_boxes,
)
from sparsefront.models.heads.center_tasks import TASKS, CenterTasksHead, of_task
from sparsefront.models.heads.map_head import MapHead, map_losses
from sparsefront.models.heads.nms import circle_nms, rotated_nms
from sparsefront.models.heads.transfusion import BoxCoder


def test_circle_nms_by_hand() -> None:
    """Squared distances 1, 4 and 9 to the best; a threshold of 4 takes the first two out."""
    centers = torch.tensor([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert circle_nms(centers, scores, 4.0, 10).tolist() == [3, 0]
    assert circle_nms(centers, scores, 0.5, 2).tolist() == [3, 0]
    assert circle_nms(centers, scores, 0.5, 10).tolist() == [3, 0, 1, 2]


def test_rotated_nms_by_hand() -> None:
    """Two squares overlap by a third; a quarter turn of a square changes nothing."""
    boxes = torch.tensor([[0.0, 0, 2, 2, 0], [1, 0, 2, 2, math.pi / 2], [5, 0, 2, 2, 0]])
    scores = torch.tensor([0.5, 0.6, 0.1])
    assert rotated_nms(boxes, scores, 0.3, 10, 10).tolist() == [1, 2]
    assert rotated_nms(boxes, scores, 0.34, 10, 10).tolist() == [1, 0, 2]
    assert rotated_nms(boxes, scores, 0.34, 2, 10).tolist() == [1, 0]


@pytest.mark.parametrize("height", ["top", "centre"])
def test_center_tasks_find_what_they_were_told(height: str) -> None:
    """Maps that say exactly the targets give the boxes back, and no box loss."""
    torch.manual_seed(0)
    coder = BoxCoder(step_m=(0.8, 0.8), lower_m=(-25.6, -25.6), height=height)  # type: ignore[arg-type]
    head = CenterTasksHead(4, 4, coder).eval()
    boxes = torch.tensor(
        [
            [3.3, -7.9, 0.5, 1.9, 4.6, 1.6, 0.7, 1.0, -2.0],
            [-12.2, 10.1, 1.0, 2.8, 9.0, 3.1, -2.0, 0.0, 0.5],
            [20.0, 20.0, -0.3, 0.6, 0.7, 1.8, 0.0, 0.1, 0.0],
        ]
    )
    labels = torch.tensor([0, 3, 8])
    with torch.no_grad():
        outputs = head(torch.zeros(1, 4, 64, 64))
    for t, task in enumerate(TASKS):
        own = of_task(outputs, t)
        goal = head._goal(boxes, labels, task, own["heatmap"].shape[1:])
        own["heatmap"].copy_(torch.where(goal.heat == 1, 8.0, -8.0).unsqueeze(0))
        column = 0
        for name, size in {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}.items():
            own[name].flatten(2)[0, :, goal.place] = goal.values[:, column : column + size].T
            column += size
    losses = head.losses(outputs, [boxes], [labels])
    assert all(losses[f"bbox/task{t}"] < 1e-6 for t in range(6))
    ((found, scores, kinds),) = head.decode(outputs)
    assert kinds.tolist() == [0, 3, 8]
    assert (scores > 0.99).all()
    assert torch.allclose(found, boxes, atol=1e-4)


def test_unknown_velocities_do_not_count() -> None:
    head = CenterTasksHead(4, 4, BoxCoder(step_m=(0.8, 0.8), lower_m=(-25.6, -25.6))).eval()
    box = torch.tensor([[3.3, -7.9, 0.5, 1.9, 4.6, 1.6, 0.7, math.nan, math.nan]])
    outputs = head(torch.zeros(1, 4, 64, 64))
    losses = head.losses(outputs, [box], [torch.tensor([0])])
    assert all(torch.isfinite(v) for v in losses.values())


def test_map_is_resampled_to_its_own_cells() -> None:
    """A map that holds its x coordinate: the outgoing cells hold theirs, exactly between."""
    head = MapHead(1, half_side_m=51.2)
    x = (torch.arange(128) + 0.5) * 0.8 - 51.2
    ramp = x.view(1, 1, -1, 1).expand(1, 1, 128, 128)
    found = F.grid_sample(ramp, head.grid.unsqueeze(0), align_corners=False)
    wanted = torch.arange(-49.75, 50, 0.5)
    assert found.shape == (1, 1, 200, 200)
    assert torch.allclose(found[0, 0, :, 7], wanted, atol=1e-4)


def test_map_loss_by_hand() -> None:
    """p = 1/2 everywhere: -log(1/2) (1/2)^2 in every class, whatever the goal."""
    losses = map_losses(torch.zeros(1, 6, 2, 2), torch.eye(2).expand(1, 6, 2, 2))
    assert len(losses) == 6
    assert all(v.item() == pytest.approx(math.log(2) / 4) for v in losses.values())


def test_anchor_differences_there_and_back() -> None:
    torch.manual_seed(0)
    anchors = torch.rand(5, 9) + 1
    boxes = torch.rand(5, 9) + 1
    assert torch.allclose(decode_boxes(anchors, encode_boxes(anchors, boxes)), boxes, atol=1e-5)


def test_anchors_by_hand() -> None:
    """2 x 2 cells over 49.6 m: centres at +-24.8 m; 14 anchors each, turned ones second."""
    anchors = anchors_like(torch.zeros(1, 4 * 14, 9))
    assert anchors.shape == (56, 9)
    assert torch.allclose(anchors[0, :2], torch.tensor([-24.8, -24.8]))
    assert torch.allclose(anchors[14, :2], torch.tensor([-24.8, 24.8]))  # y fastest
    assert anchors[1, 6].item() == pytest.approx(1.57)
    assert anchors[0, 2].item() == pytest.approx(-1.80032795 + 1.72270761 / 2)


def test_anchors_take_the_boxes_they_overlap() -> None:
    """A car on an anchor, turned by almost a whole turn: matched, with direction 1."""
    anchors = anchors_like(torch.zeros(1, 4 * 14, 9))
    box = anchors[28].clone()
    box[6] = 2 * math.pi - 0.1
    found = assign(anchors, box[None], torch.tensor([0]), 10)
    assert found.matched.nonzero().flatten().tolist() == [28]
    assert found.labels[28].item() == 0
    assert found.directions[28].item() == 1
    assert found.deltas[28, :6].abs().max() < 1e-6
    assert found.known.sum() >= 50
    turned = torch.zeros(1, 9)
    turned[0, 6] = math.pi
    assert box_loss(turned, torch.zeros(1, 9)).item() == pytest.approx(0.0, abs=1e-6)


def test_anchor_head_finds_a_box_it_is_sure_of() -> None:
    head = AnchorHead(2).eval()
    outputs = {k: v.detach().clone() for k, v in head(torch.zeros(1, 2, 2, 2)).items()}
    outputs["class"].fill_(-9.0)
    outputs["class"][0, 28, 0] = 9.0
    outputs["box"].zero_()
    outputs["direction"][0, 28] = torch.tensor([0.0, 1.0])
    ((boxes, scores, labels),) = head.decode(outputs)
    assert labels.tolist() == [0]
    assert scores[0] > 0.99
    assert torch.allclose(boxes[0, :6], anchors_like(outputs["box"])[28, :6])
    assert boxes[0, 6].item() == pytest.approx(2 * math.pi)  # into 0.785 .. 3.927, then half a turn
