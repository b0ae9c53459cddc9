"""Suppression of boxes against cases worked out by hand."""

from __future__ import annotations

import math

import torch

from sparsefront.models.heads.nms import circle_nms, rotated_nms


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
