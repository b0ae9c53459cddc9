"""The velocity tracker: who continues which track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.box_table import BoxTable
from sparsefront.scenes.scoring.track_table import TrackFrames
from sparsefront.scenes.scoring.tracker import DISTANCE_M, TrackerSpec, track
from sparsefront.scenes.scoring.tracking_frames import score_tracking

CAR, BARRIER, PEDESTRIAN = (DETECTION_CLASSES.index(n) for n in ("car", "barrier", "pedestrian"))


def boxes(rows: list[tuple[float, ...]]) -> BoxTable:
    """Rows of frame, x, velocity in x, score and label."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5)
    count = len(columns)
    flat = np.zeros(count)
    return BoxTable(
        sample=columns[:, 0].astype(np.int64), label=columns[:, 4].astype(np.int64),
        center=np.stack([columns[:, 1], flat, flat], axis=1), size=np.ones((count, 3)),
        rotation=np.tile([1.0, 0, 0, 0], (count, 1)),
        velocity=np.stack([columns[:, 2], flat], axis=1), attribute=np.full(count, -1),
        score=columns[:, 3], num_points=np.full(count, -1),
    )  # fmt: skip


def frames(count: int, scene: list[int] | None = None) -> TrackFrames:
    return TrackFrames(
        scene=np.array(scene or [0] * count), timestamp=10**15 + 500_000 * np.arange(count)
    )


def test_velocity_carries_a_track() -> None:
    """20 m/s over 0.5 s is 10 m, beyond a car's 4 m: only the projection finds the track."""
    found = track(boxes([(0, 0, 20, 0.9, CAR), (1, 10, 20, 0.9, CAR)]), frames(2), TrackerSpec())
    assert found.track.tolist() == [0, 0]
    still = track(boxes([(0, 0, 0, 0.9, CAR), (1, 10, 0, 0.9, CAR)]), frames(2), TrackerSpec())
    assert still.track.tolist() == [0, 1]
    unknown = boxes([(0, 0, np.nan, 0.9, CAR), (1, 1, np.nan, 0.9, CAR)])
    assert track(unknown, frames(2), TrackerSpec()).track.tolist() == [0, 0]


def test_the_most_confident_detection_chooses_first() -> None:
    """Both are nearest to the track at 0; the surer, though farther, takes it."""
    rows = [(0, 0, 0, 0.5, CAR), (1, 1, 0, 0.3, CAR), (1, 2, 0, 0.8, CAR)]
    found = track(boxes(rows), frames(2), TrackerSpec())
    assert found.boxes.center[:, 0].tolist() == [0, 2, 1]
    assert found.track.tolist() == [0, 0, 1]


def test_track_expires_after_max_age() -> None:
    """max_age frames may be missed, with the track moving on; one more is too many."""
    for missed, continued in ((3, True), (4, False)):
        rows = [(0, 0, 10, 0.9, CAR), (missed + 1, 5 * (missed + 1), 10, 0.9, CAR)]
        found = track(boxes(rows), frames(missed + 2), TrackerSpec(max_age=3))
        assert (found.track[0] == found.track[1]) == continued
    found = track(boxes([(0, 0, 0, 1, CAR), (1, 0, 0, 1, CAR)]), frames(2), TrackerSpec(max_age=0))
    assert found.track.tolist() == [0, 0]


def test_classes_limits_and_scenes_keep_apart() -> None:
    rows = [(0, 0, 0, 0.9, CAR), (1, 0, 0, 0.9, PEDESTRIAN), (1, 0, 0, 0.9, BARRIER)]
    found = track(boxes(rows), frames(2), TrackerSpec())
    assert found.boxes.label.tolist() == [CAR, PEDESTRIAN]  # barriers are not tracked
    assert found.track.tolist() == [0, 1]
    for label, same in ((CAR, True), (PEDESTRIAN, False)):  # 4 m, 1 m
        two = boxes([(0, 0, 0, 0.9, label), (1, 1.5, 0, 0.9, label)])
        assert (len(set(track(two, frames(2), TrackerSpec()).track.tolist())) == 1) == same
    apart = boxes([(0, 0, 0, 0.9, CAR), (1, 0, 0, 0.9, CAR)])
    assert track(apart, frames(2, [0, 1]), TrackerSpec()).track.tolist() == [0, 1]


def test_no_detections_give_no_tracks() -> None:
    assert len(track(BoxTable.empty(), frames(3), TrackerSpec())) == 0


def test_wrong_tracker_options_are_named() -> None:
    with pytest.raises(InputError, match="max_age: value -1; allowed: 0 and above"):
        TrackerSpec(max_age=-1)
    with pytest.raises(InputError, match="class 'cone' is unknown; allowed: bicycle, "):
        TrackerSpec(distance_m={"cone": 1.0})
    assert TrackerSpec(distance_m={"car": 1.0}).distance_m == {**DISTANCE_M, "car": 1.0}
    with pytest.raises(InputError, match=r"distance_m\.car: value nan"):
        TrackerSpec(distance_m={**TrackerSpec().distance_m, "car": float("nan")})
    with pytest.raises(InputError, match="predictions: sample 5; allowed: 0 to 1"):
        track(boxes([(5, 0, 0, 0.9, CAR)]), frames(2), TrackerSpec())


def test_perfect_detections_have_amota_one(tiny_root: Path) -> None:
    """What a sweep calls: perfect boxes with their velocities give a high score."""
    scenes = NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="procedural_val")
    )
    found = {}
    for token in scenes.tokens:
        frame = scenes.frame(token)
        seen = frame.num_lidar_pts + frame.num_radar_pts > 0  # others are not scored
        found[token] = Detections(
            boxes=torch.tensor(frame.boxes[seen]), scores=torch.ones(int(seen.sum())),
            labels=torch.tensor(frame.labels[seen]),
        )  # fmt: skip
    scores = score_tracking(scenes, found, TrackerSpec())
    assert pytest.approx(1) == scores.AMOTA
    assert scores.overall["ids"] == 0
    with pytest.raises(InputError, match="1 frames are missing"):
        score_tracking(scenes, dict(list(found.items())[1:]), TrackerSpec())
