"""KITTI's files: geometry by hand on a made frame, real frames where they are at hand, matching."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scenes.batch import Detections
from scenes.kitti import KittiScenes, KittiSpec, Label
from scenes.loader import ImageSpec, Loader
from scenes.scoring.kitti_matching import match, overlaps

REAL = (
    Path(os.environ.get("SPARSEFRONT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "kitti"
)


def test_a_frame_by_hand(kitti_root: Path) -> None:
    """A car 20 m ahead and 2 m to the right that faces ahead; its bottom 1.7 m below the camera."""
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    frame = scenes.frame("000000")
    assert frame.points.tolist() == [[2.0, 20.0, -1.0, 127.5, 0.0]]
    box = frame.boxes[0]
    assert box[:7] == pytest.approx([2.0, 20.0, -1.7 + 0.75, 4.0, 1.6, 1.5, np.pi / 2], abs=1e-6)
    batch = Loader(scenes, ImageSpec(height=48, width=112), None, 1, shuffle=False, seed=0).sample(
        0
    )
    u, v, d, _ = batch.lidar_to_image[0, 0] @ torch.tensor([2.0, 20.0, -1.0, 1.0])
    assert (u / d).item() == pytest.approx(50 + 100 * 2 / 20)
    assert (v / d).item() == pytest.approx(20 + 100 * 1 / 20)
    (label,) = scenes.labels("000000")
    assert label.difficulty == 0
    assert replace(label, occluded=1).difficulty == 1
    assert replace(label, pixels_high=30.0, truncated=0.4).difficulty == 2
    assert replace(label, pixels_high=20.0).difficulty is None


def test_wrong_files(kitti_root: Path) -> None:
    label = kitti_root / "training" / "label_2" / "000000.txt"
    car = label.read_text().splitlines()[0]
    label.write_text(car.rpartition(" ")[0])
    with pytest.raises(ValueError, match=r"000000\.txt: line 1: 14 columns; allowed: 15"):
        KittiScenes(KittiSpec(kitti_root=str(kitti_root))).frame("000000")
    with pytest.raises(ValueError, match="frames: 000009 has no label"):
        KittiScenes(KittiSpec(kitti_root=str(kitti_root), frames=("000009",)))
    with pytest.raises(ValueError, match="is not a folder"):
        KittiScenes(KittiSpec(kitti_root=str(kitti_root / "absent")))


def test_overlaps_by_hand() -> None:
    """Half of the ground in common, all of the height: a third; a quarter turn of a square: one."""
    box = np.array([[0.0, 0, 0, 2, 2, 1, 0]])
    others = np.array(
        [[1.0, 0, 0, 2, 2, 1, 0], [0, 0, 0, 2, 2, 1, np.pi / 2], [0, 0, 5, 2, 2, 1, 0]]
    )
    assert overlaps(box, others)[0] == pytest.approx([1 / 3, 1.0, 0.0])


def test_matching_by_hand() -> None:
    """Easy and moderate car, a van. Found: the easy one, the van (no matter), one of nothing."""
    places = np.zeros((3, 7))
    places[:, 0] = 0, 10, 20
    places[:, 3:6] = 4, 2, 1.5
    easy = Label("Car", 0.0, 0, 50.0, places[0])
    labels = {"a": [easy, Label("Car", 0.0, 1, 50.0, places[1]), Label("Van", 0, 0, 50, places[2])]}
    boxes = torch.zeros(4, 9)
    boxes[:, 0] = torch.tensor([0.0, 20, 30, 10])
    boxes[:, 3:6] = torch.tensor([4, 2, 1.5])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.2])
    found = match(labels, {"a": Detections(boxes=boxes, scores=scores, labels=torch.zeros(4))})
    assert found.recall == (1.0, 0.5, 0.5)
    assert found.labels == (1, 2, 2)
    assert found.precision == 0.5  # the box on the van does not count
    assert found.detections == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="no real KITTI frames here")
def test_real_boxes_lie_in_their_image_boxes() -> None:
    """The projected centre of every labelled car is inside the rectangle drawn around it."""
    scenes = KittiScenes(KittiSpec(kitti_root=str(REAL)))
    checked = 0
    for token in scenes.tokens:
        frame = scenes.frame(token)
        path = REAL / "training" / "label_2" / f"{token}.txt"
        rows = [line.split() for line in path.read_text().splitlines()]
        rectangles = [[float(v) for v in r[4:8]] for r in rows if r[0] in ("Car", "Cyclist")]
        boxes = [b for b, n in zip(frame.boxes, frame.labels, strict=True) if n in (0, 7)]
        for (left, top, right, bottom), box in zip(rectangles, boxes, strict=True):
            x, y, depth = (frame.lidar_to_camera[0] @ [*box[:3], 1])[:3]
            u, v, _ = frame.intrinsics[0] @ [x / depth, y / depth, 1]
            assert left - 40 <= u <= right + 40
            assert top - 10 <= v <= bottom + 10
            checked += 1
    assert checked > 40
