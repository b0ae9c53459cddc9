"""The anchor head against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sparsefront.models.heads.anchors import (
    AnchorHead,
    anchors_like,
    assign_anchors,
    box_loss,
    decode_boxes,
    encode_boxes,
)


def test_decoding_inverts_encoding_of_anchor_boxes() -> None:
    torch.manual_seed(0)
    anchors = torch.rand(5, 9) + 1
    boxes = torch.rand(5, 9) + 1
    assert torch.allclose(decode_boxes(anchors, encode_boxes(anchors, boxes)), boxes, atol=1e-5)


def test_anchors_cover_the_grid() -> None:
    """2 x 2 cells over 49.6 m: centres at +-24.8 m; 14 anchors each, turned ones second."""
    anchors = anchors_like(torch.zeros(1, 4 * 14, 9))
    assert anchors.shape == (56, 9)
    assert torch.allclose(anchors[0, :2], torch.tensor([-24.8, -24.8]))
    assert torch.allclose(anchors[14, :2], torch.tensor([-24.8, 24.8]))  # y fastest
    assert anchors[1, 6].item() == pytest.approx(1.57)
    assert anchors[0, 2].item() == pytest.approx(-1.80032795 + 1.72270761 / 2)


def test_anchors_are_assigned_boxes_they_overlap() -> None:
    """A car on an anchor, turned by almost a whole turn: matched, with direction 1."""
    anchors = anchors_like(torch.zeros(1, 4 * 14, 9))
    box = anchors[28].clone()
    box[6] = 2 * math.pi - 0.1
    found = assign_anchors(anchors, box[None], torch.tensor([0]), 10)
    assert found.matched.nonzero().flatten().tolist() == [28]
    assert found.labels[28].item() == 0
    assert found.directions[28].item() == 1
    assert found.deltas[28, :6].abs().max() < 1e-6
    assert found.known.sum() >= 50
    turned = torch.zeros(1, 9)
    turned[0, 6] = math.pi
    assert box_loss(turned, torch.zeros(1, 9)).item() == pytest.approx(0.0, abs=1e-6)


def test_anchor_head_decodes_a_confident_anchor() -> None:
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
