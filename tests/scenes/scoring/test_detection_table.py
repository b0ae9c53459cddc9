"""Detections of a trial as the scored table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.box_table import ATTRIBUTES, NO_ATTRIBUTE
from sparsefront.scenes.scoring.detection_table import best_of_frames, detection_table, half_turn
from sparsefront.scenes.scoring.nuscenes_detection import yaw_of

CAR, CONE = DETECTION_CLASSES.index("car"), DETECTION_CLASSES.index("traffic_cone")


def test_the_best_boxes_of_each_frame_stay() -> None:
    """Best first, of equals the earlier, two a frame; a frame without rows; one sorted already."""
    scores = np.array([0.2, 0.9, 0.2, 0.5, 0.4, 0.3])
    rows, frame = best_of_frames(scores, np.array([3, 3, 6]), 2)
    assert rows.tolist() == [1, 0, 3, 4]
    assert frame.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("yaw", np.linspace(-np.pi, np.pi, 41))
def test_half_turn_equals_trigonometry(yaw: float) -> None:
    w, z = half_turn(2.5 * np.cos(yaw), 2.5 * np.sin(yaw))
    same = abs(w * np.cos(yaw / 2) + z * np.sin(yaw / 2))  # a quaternion and its negative
    assert same == pytest.approx(1.0, abs=1e-15)
    assert w * w + z * z == pytest.approx(1.0, abs=1e-15)


def test_boxes_move_to_the_global_frame(tiny_root: Path) -> None:
    """Against the 4x4 of the frame, number by number; attributes by class and speed."""
    scenes = NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="all")
    )
    boxes = torch.tensor([[3.0, 4, 1, 4.5, 2, 1.5, 0.7, 3.0, -1.0], [1, 2, 0, 1, 1, 1, 3, 0, 0.1]])
    found = Detections(
        boxes=boxes, scores=torch.tensor([0.5, 0.25]), labels=torch.tensor([CAR, CONE])
    )
    none = Detections(boxes=boxes[:0], scores=torch.zeros(0), labels=torch.zeros(0).long())
    table = detection_table(scenes, dict.fromkeys(scenes.tokens, none) | {scenes.tokens[1]: found})
    pose = scenes.lidar_to_global(scenes.tokens[1])
    exact = boxes.double().numpy()
    np.testing.assert_allclose(table.center, exact[:, :3] @ pose[:3, :3].T + pose[:3, 3])
    np.testing.assert_allclose(table.size, exact[:, [4, 3, 5]])
    flat = np.column_stack([exact[:, 7:9], [0.0, 0.0]])
    np.testing.assert_allclose(table.velocity, (flat @ pose[:3, :3].T)[:, :2], atol=1e-12)
    ahead = np.column_stack([np.cos(exact[:, 6]), np.sin(exact[:, 6]), [0.0, 0.0]])
    ahead = ahead @ pose[:3, :3].T
    np.testing.assert_allclose(yaw_of(table.rotation), np.arctan2(ahead[:, 1], ahead[:, 0]))
    assert table.sample.tolist() == [1, 1]
    assert table.attribute.tolist() == [ATTRIBUTES.index("vehicle.moving"), NO_ATTRIBUTE]
