"""The reader on real keyframes: boxes hold their points, cameras and LiDAR agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsefront.scenes.batch import Detections
from sparsefront.scenes.geometry import points_in_box, project
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.nuscenes_frames import score_detections as score
from tests.helpers import paths

DATA = paths.DATA
ROOT = DATA / "nuscenes"
pytestmark = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no real keyframes in {ROOT}; set SPARSEFRONT_TEST_DATA"
)


@pytest.fixture(scope="module")
def scenes() -> NuScenesScenes:
    return NuScenesScenes(NuScenesSpec(root=str(ROOT), split="mini_train", num_sweeps=0))


def test_real_boxes_hold_the_stated_number_of_points(scenes: NuScenesScenes) -> None:
    """num_lidar_pts of the annotation is the count inside the reader's box, exactly."""
    for token in scenes.tokens:
        frame = scenes.frame(token)
        assert len(frame.boxes) > 20
        counts = [
            int(points_in_box(frame.points[:, :3].astype(float), b[:3], b[3:6], r).sum())
            for b, r in zip(frame.boxes, frame.box_rotations, strict=True)
        ]
        assert counts == frame.num_lidar_pts.tolist()


def test_real_ground_truth_scores_one(scenes: NuScenesScenes) -> None:
    """One keyframe a scene has no velocity (NaN), so NDS cannot be 1; AP and position can."""
    truth = {}
    for token in scenes.tokens:
        frame = scenes.frame(token)
        boxes = torch.from_numpy(np.nan_to_num(frame.boxes)).float()
        truth[token] = Detections(
            boxes=boxes, labels=torch.from_numpy(frame.labels), scores=torch.ones(len(boxes))
        )
    found = score(scenes, truth)
    present = [ap for ap in found.per_class.values() if ap > 0]
    assert len(present) >= 4
    assert max(present) == pytest.approx(1.0, abs=1e-6)


def test_real_points_project_into_the_images(scenes: NuScenesScenes) -> None:
    batch = Loader(scenes, ImageSpec(height=96, width=256), None, 1, shuffle=False, seed=0).sample(
        0
    )
    assert batch.images.shape == (1, 6, 3, 96, 256)
    assert len(batch.points[0]) > 30_000
    seen = np.zeros(len(batch.points[0]), bool)
    for matrix in batch.lidar_to_image[0].double().numpy():
        pixels, depth = project(matrix, batch.points[0][:, :3].double().numpy())
        seen |= (depth > 1) & (pixels >= 0).all(1) & (pixels < [256, 96]).all(1)
    assert seen.mean() > 0.3
