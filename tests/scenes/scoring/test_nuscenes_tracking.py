"""The tracking score from arrays: by hand, and beside nuscenes-devkit's own on hard inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.pairwise import euclidean_distances

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.assignment import assign
from sparsefront.scenes.scoring.box_table import BoxTable
from sparsefront.scenes.scoring.devkit_tracking import devkit_tables_score, devkit_tracking_score
from sparsefront.scenes.scoring.nuscenes_tracking import TrackingScores, score
from sparsefront.scenes.scoring.submission import read_submission
from sparsefront.scenes.scoring.track_table import TrackFrames, TrackTable
from sparsefront.scenes.scoring.tracker import TrackerSpec, track
from sparsefront.scenes.scoring.tracking_distances import frame_distances
from sparsefront.scenes.scoring.tracking_frames import (
    ground_truth_tracks,
    score_tracks,
    track_frames,
    tracking_truth,
)
from sparsefront.scenes.scoring.tracking_interpolation import interpolate_tracks, track_means
from tests.helpers import paths

MINIVAL = paths.DATA / "nuscenes_minival"
CAR, PEDESTRIAN = (DETECTION_CLASSES.index(name) for name in ("car", "pedestrian"))
HALF_SECOND = 500_000


def table(rows: list[tuple[float, ...]]) -> TrackTable:
    """Rows of frame, track, x, y, score and label."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 6)
    count = len(columns)
    center = np.concatenate([columns[:, 2:4], np.zeros((count, 1))], axis=1)
    boxes = BoxTable(
        sample=columns[:, 0].astype(np.int64), label=columns[:, 5].astype(np.int64), center=center,
        size=np.ones((count, 3)), rotation=np.tile([1.0, 0, 0, 0], (count, 1)),
        velocity=np.zeros((count, 2)), attribute=np.full(count, -1), score=columns[:, 4],
        num_points=np.full(count, -1),
    )  # fmt: skip
    return TrackTable(boxes=boxes, track=columns[:, 1].astype(np.int64))


def one_scene(frames: int) -> TrackFrames:
    return TrackFrames(
        scene=np.zeros(frames, np.int64), timestamp=np.arange(frames) * HALF_SECOND + 10**15
    )


def check(ours: TrackingScores, theirs: TrackingScores) -> None:
    for metric, values in theirs.label_metrics.items():
        found = ours.label_metrics[metric]
        assert found == pytest.approx(values, abs=1e-9, nan_ok=True), metric
    assert list(ours.overall) == list(theirs.overall)
    assert ours.overall == pytest.approx(theirs.overall, abs=1e-9, nan_ok=True)


def test_tracking_metrics_by_hand() -> None:
    """A car in 6 frames: found in two by A, missed, found in three by B; one false positive."""
    wanted = table([(f, 7, 10.0 * f, 0, -1, CAR) for f in range(6)])
    at = {f: (10.0 * f, 0.5) for f in range(6)}
    rows = [(f, 1, *at[f], 0.9, CAR) for f in (0, 1)] + [
        (f, 2, *at[f], 0.9, CAR) for f in (3, 4, 5)
    ]
    found = table([*rows, (0, 3, -50, 0, 0.9, CAR)])
    ours = score(wanted, found, one_scene(6))
    said = {name: values["car"] for name, values in ours.label_metrics.items()}
    # 4 of 6 in matches: the lowest 25 of the 40 recalls from 0.1 to 1 are reached
    assert said == pytest.approx(
        {
            "tp": 4, "ids": 1, "fn": 1, "fp": 1, "gt": 6, "frag": 1, "mt": 1, "ml": 0,
            "recall": 5 / 6, "mota": 1 - 3 / 6, "motar": 1 - (3 - 2) / 4, "motp": 0.5,
            "faf": 100 / 6, "tid": 0, "lgd": 0.5, "amota": 25 * 0.75 / 40,
            "amotp": (25 * 0.5 + 15 * 2.0) / 40,
        }
    )  # fmt: skip
    assert pytest.approx(said["amota"]) == ours.AMOTA
    check(ours, devkit_tables_score(wanted, found, one_scene(6)))


def random_tracks(seed: int, **changes: Any) -> tuple[TrackTable, TrackTable, TrackFrames]:
    """Objects that move, come and go in two scenes; predictions beside them that drop out, change
    tracks and are false.
    """
    choice: dict[str, Any] = {
        "frames": 9, "objects": 12, "noise": 0.5, "digits": None, "spread": 12.0, "twice": False,
        "labels": (0, 1, 3, 4, 6, 7, 8), "drop": 0.2,
    }  # fmt: skip
    choice.update(changes)
    random = np.random.default_rng(seed)
    frames, objects = choice["frames"], choice["objects"]
    wanted, found = [], []
    for scene in range(2):
        place = random.uniform(-choice["spread"], choice["spread"], (objects, 2)) + 1700
        speed = random.normal(size=(objects, 2))
        label = random.choice(choice["labels"], objects)
        first, last = np.sort(random.integers(0, frames, (2, objects)), axis=0)
        track = np.arange(objects)
        for frame in range(frames):
            now, place = scene * frames + frame, place + speed * 0.5
            track = np.where(random.random(objects) < 0.1, random.permutation(objects), track)
            near = place + choice["noise"] * random.normal(size=(objects, 2))
            for i in np.flatnonzero((first <= frame) & (frame <= last)):
                if random.random() > choice["drop"]:
                    wanted.append((now, 100 * scene + i, *place[i], -1, label[i]))
                if random.random() > choice["drop"]:
                    found.append((now, track[i], *near[i], random.random(), label[i]))
            for _ in range(random.integers(0, 4)):
                i = random.integers(0, objects)
                false = random.integers(30, 36)
                found.append((now, false, *(near[i] + 1), random.random(), random.choice(label)))
    theirs, ours = table(wanted), table(found)
    if not choice["twice"]:
        pairs = np.stack([ours.boxes.sample, ours.track])
        ours = ours[np.sort(np.unique(pairs, axis=1, return_index=True)[1])]
    if choice["digits"] is not None:
        rounded = ours.boxes.score.round(choice["digits"])
        ours = replace(ours, boxes=replace(ours.boxes, score=rounded))
    scene = np.repeat([0, 1], frames)
    timestamp = 10**15 + np.cumsum(random.integers(400_000, 600_000, 2 * frames))
    return theirs, ours, TrackFrames(scene=scene, timestamp=timestamp)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": (CAR,), "spread": 4.0, "objects": 16},
        {"digits": 1},
        {"noise": 0.0},
        {"noise": 0.001, "labels": (CAR, PEDESTRIAN)},
        {"twice": True, "labels": (CAR, PEDESTRIAN)},
        {"drop": 0.6},
    ],
    ids=str,
)
def test_random_tracks_score_as_the_devkit(changes: dict[str, Any]) -> None:
    """Crowds, equal scores, coinciding boxes, a track twice in a frame, many holes."""
    inputs = random_tracks(len(changes), **changes)
    check(score(*inputs), devkit_tables_score(*inputs))


def test_equal_distances_are_assigned_as_the_devkit_does() -> None:
    """Boxes on a grid of half metres: assignments are tied, distances at the limit of 2 m."""
    wanted, found, frames = random_tracks(3, spread=4.0, objects=20, labels=(CAR,), noise=1.0)
    wanted, found = (
        replace(t, boxes=replace(t.boxes, center=(t.boxes.center * 2).round() / 2))
        for t in (wanted, found)
    )
    check(score(wanted, found, frames), devkit_tables_score(wanted, found, frames))


def test_empty_tables_score_as_the_devkit() -> None:
    wanted, found, frames = random_tracks(5, labels=(CAR, PEDESTRIAN))
    nothing = table([])
    cars = found.boxes.label == CAR
    early = np.isin(wanted.boxes.sample, (0, 1, 2, 14))
    for truth, boxes in (
        (wanted, nothing),
        (nothing, found),
        (nothing, nothing),
        (wanted, found[cars]),  # a class without predictions
        (wanted[wanted.boxes.label == CAR], found),  # a class without labels
        (wanted, found[np.array([0])]),  # the least recall is not reached
        (wanted[early], found[found.boxes.sample % 9 < 2]),  # frames with neither
    ):
        check(score(truth, boxes, frames), devkit_tables_score(truth, boxes, frames))


def test_holes_are_filled_as_the_devkit_does() -> None:
    """Weights are exchanged there: after 0.5 of 2 s the box is 3/4 of the way."""
    wanted = table([(0, 4, 0, 0, -1, CAR), (4, 4, 8, 0, -1, CAR), (1, 9, 1, 1, -1, CAR)])
    filled = interpolate_tracks(wanted, one_scene(5))
    mine = filled.given == 4
    assert filled.center[mine, 0].tolist() == [0, 6, 4, 2, 8]
    assert filled.frame.tolist() == [0, 1, 1, 2, 3, 4]
    assert filled.given.tolist() == [4, 9, 4, 4, 4, 4]  # a frame's own boxes come first


def test_track_scores_equal_numpys_means() -> None:
    random = np.random.default_rng(0)
    for length in (1, 2, 7, 8, 9, 40, 130, 300):
        track = random.permutation(np.repeat(np.arange(20), length))
        values = random.random(len(track))
        wanted = [np.mean(values[track == i].tolist()) for i in range(20)]
        assert track_means(track, values).tolist() == wanted


def test_assignments_equal_scipys() -> None:
    """Ties included: few different costs, of any shape."""
    random = np.random.default_rng(0)
    for trial in range(3000):
        rows, columns = random.integers(1, 8, 2)
        cost = random.integers(0, 1 + trial % 4, (rows, columns)) * 0.1
        cost[random.random(cost.shape) < 0.3] = 25.3
        wanted = np.full(rows, -1)
        at = linear_sum_assignment(cost)
        wanted[at[0]] = at[1]
        assert assign(cost).tolist() == wanted.tolist()


def test_distances_equal_sklearns_to_the_bit() -> None:
    random = np.random.default_rng(1)
    labels, predictions = random.integers(0, 30, (2, 200))
    ends = [np.append(0, np.cumsum(n)) for n in (labels, predictions)]
    wanted = random.uniform(900, 1100, (ends[0][-1], 2))
    found = wanted[random.integers(0, len(wanted), ends[1][-1])]
    distance, begins = frame_distances(wanted, ends[0], found, ends[1])
    for frame in range(200):
        ours = wanted[ends[0][frame] : ends[0][frame + 1]]
        theirs = found[ends[1][frame] : ends[1][frame + 1]]
        if len(ours) and len(theirs):
            exact = euclidean_distances(ours, theirs).ravel()
            start = begins[frame]
            assert distance[start : start + len(exact)].tolist() == exact.tolist()


def test_wrong_tables_are_named() -> None:
    wanted, found, frames = random_tracks(0)
    nan = np.full(len(found), np.nan)
    for said, arguments in {
        "tracking_score: value nan": (
            wanted, replace(found, boxes=replace(found.boxes, score=nan)), frames,
        ),
        "predictions: sample 17; allowed: 0 to 8": (
            table([]), found[found.boxes.sample == 17], one_scene(9),
        ),
        "ground truth: a centre is not finite": (
            replace(wanted, boxes=replace(wanted.boxes, center=wanted.boxes.center * np.nan)),
            found, frames,
        ),
        "ground truth: a track is twice": (wanted[np.array([0, 0])], found, frames),
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=said):
            score(*arguments)
    with pytest.raises(InputError, match="timestamp 4 of sample 1 is not after 5"):
        TrackFrames(scene=np.zeros(2, np.int64), timestamp=np.array([5, 4]))
    with pytest.raises(InputError, match="samples of a scene are apart"):
        TrackFrames(scene=np.array([0, 1, 0]), timestamp=np.array([1, 2, 3]))


@pytest.fixture(scope="module")
def minival() -> NuScenesScenes:
    if not MINIVAL.is_dir():
        pytest.skip(f"no real tables in {MINIVAL}; set SPARSEFRONT_TEST_DATA")
    return NuScenesScenes(NuScenesSpec(root=str(MINIVAL), version="v1.0-mini", split="mini_val"))


def test_perturbed_ground_truth_scores_as_the_devkit(minival: NuScenesScenes) -> None:
    """The first 14 frames: boxes moved, dropped, of changed tracks, with ties and false ones."""
    truth, frames = ground_truth_tracks(minival), track_frames(minival)
    truth = truth[truth.boxes.sample < 14]
    assert len(np.unique(truth.track)) > 50
    frames = TrackFrames(scene=frames.scene[:14], timestamp=frames.timestamp[:14])
    random = np.random.default_rng(0)
    found = truth[random.random(len(truth)) > 0.2]
    moved = found.boxes.center + random.normal(scale=0.4, size=found.boxes.center.shape)
    sure = random.random(1 + int(truth.track.max()))[found.track].round(1)
    switched = np.where(random.random(len(found)) < 0.05, found.track + 1000, found.track)
    boxes = replace(found.boxes, center=moved, score=sure)
    found = TrackTable(boxes=boxes, track=switched)
    check(score(truth, found, frames), devkit_tables_score(truth, found, frames))


@pytest.mark.long
def test_real_detections_score_as_the_devkit(minival: NuScenesScenes) -> None:
    """Tracks of CenterPoint's boxes, ranges, points and racks filtered by either."""
    path = MINIVAL / "results" / "centerpoint_results_nusc.json"
    boxes = read_submission(path, minival)
    frames = tracking_truth(minival).frames
    tracks = track(boxes[boxes.score > 0.3], frames, TrackerSpec())
    ours = score_tracks(minival, tracks)
    assert ours.AMOTA > 0.5
    check(ours, devkit_tracking_score(minival, tracks, frames))
