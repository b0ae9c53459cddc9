"""Ground-truth paste: what is gathered, what may be set where, what becomes of points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.frame import BadSample, Frame
from sparsefront.scenes.geometry import points_in_box, points_in_boxes, yaw_matrix
from sparsefront.scenes.kitti import KittiScenes, KittiSpec
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.loading.augment import AugmentSpec
from sparsefront.scenes.loading.paste import PasteSpec, paste_objects
from sparsefront.scenes.loading.paste_database import PasteDatabase, open_database
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.procedural import make_scenes

CAR, BUS = DETECTION_CLASSES.index("car"), DETECTION_CLASSES.index("bus")
SMALL = ImageSpec(height=32, width=96)


@pytest.fixture(scope="module")
def scenes(tiny_root: Path) -> NuScenesScenes:
    return NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="all", num_sweeps=0)
    )


def box(x: float, y: float, yaw: float = 0.0) -> list[float]:
    return [x, y, 0.0, 4.0, 2.0, 2.0, yaw, 0.0, 0.0]


def synthetic_frame(scenes: NuScenesScenes, boxes: list[list[float]], points: np.ndarray) -> Frame:
    count = len(boxes)
    return replace(
        scenes.frame(scenes.tokens[0]), boxes=np.array(boxes).reshape(-1, 9),
        box_rotations=np.tile(np.eye(3), (count, 1, 1)), labels=np.full(count, CAR),
        num_lidar_pts=np.ones(count, int), num_radar_pts=np.zeros(count, int),
        attributes=("",) * count, tracks=np.arange(count), points=points.astype(np.float32),
    )  # fmt: skip


def small_database(boxes: list[list[float]], labels: list[int], counts: list[int]) -> PasteDatabase:
    first = np.concatenate([[0], np.cumsum(counts)])
    points = np.arange(first[-1] * 5, dtype=np.float32).reshape(-1, 5)
    return PasteDatabase(boxes=np.array(boxes), labels=np.array(labels), first=first, points=points)


def test_pasted_objects_meet_no_other_box(scenes: NuScenesScenes) -> None:
    """Of five cars one meets the frame's own, one is poor in points, two meet each other; the bus
    is not asked for. The frame's point inside a pasted box goes.
    """
    frame = synthetic_frame(scenes, [box(0, 0)], np.array([[20.5, 0.5, 0, 1, 0], [40, 0, 0, 2, 0]]))
    database = small_database(
        [box(1, 1), box(10, 0), box(20, 0), box(21, 0, 1.0), box(-30, 0), box(30, 30)],
        [CAR, CAR, CAR, CAR, CAR, BUS], [5, 4, 6, 7, 5, 9],
    )  # fmt: skip
    found = paste_objects(frame, database, PasteSpec(objects={"car": 9}), np.random.default_rng(0))
    added = {float(x) for x in found.boxes[1:, 0]}
    assert added in ({20.0, -30.0}, {21.0, -30.0})
    one = 2 if 20.0 in added else 3
    own = [database.points_of(row) for row in (one, 4)]
    expected = {tuple(p) for part in own for p in part.tolist()} | {(40.0, 0.0, 0.0, 2.0, 0.0)}
    assert {tuple(p) for p in found.points.tolist()} == expected
    assert found.labels.tolist() == [CAR] * 3
    assert sorted(found.num_lidar_pts[1:]) == sorted(len(p) for p in own)
    assert found.tracks.tolist() == [0, -1, -1]
    assert len(found.attributes) == len(found.box_rotations) == len(found.num_radar_pts) == 3


def test_a_frame_is_filled_up_to_the_wanted_number(scenes: NuScenesScenes) -> None:
    frame = synthetic_frame(scenes, [box(0, 0), box(0, 9)], np.zeros((1, 5)))
    database = small_database([box(10.0 * i, -20) for i in range(9)], [CAR] * 9, [5] * 9)
    for wanted, expected in ((2, 2), (3, 3), (6, 6), (50, 11)):
        spec = PasteSpec(objects={"car": wanted})
        found = paste_objects(frame, database, spec, np.random.default_rng(1))
        assert len(found.boxes) == expected


def test_points_in_many_boxes_equal_those_in_each() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-5, 5, (500, 5)).astype(np.float32)
    boxes = random.uniform(-2, 2, (6, 9))
    boxes[:, 3:6] = random.uniform(1, 6, (6, 3))
    expected = [
        points_in_box(points[:, :3].astype(float), b[:3], b[3:6], yaw_matrix(b[6])) for b in boxes
    ]
    np.testing.assert_array_equal(points_in_boxes(points, boxes), expected)


def test_database_holds_every_object_and_its_points(scenes: NuScenesScenes) -> None:
    database = open_database(scenes)
    frames = [scenes.frame(token) for token in scenes.tokens]
    np.testing.assert_array_equal(database.boxes, np.concatenate([f.boxes for f in frames]))
    counted = np.concatenate([f.num_lidar_pts for f in frames])
    np.testing.assert_array_equal(np.diff(database.first), counted)
    assert len(database.points) == counted.sum()
    assert open_database(scenes) is database


def test_objects_are_pasted_for_so_many_epochs(scenes: NuScenesScenes) -> None:
    spec = AugmentSpec(paste=PasteSpec(objects={"car": 9, "bus": 9}, epochs=1))
    loader = Loader(scenes, SMALL, spec, 1, shuffle=False, seed=0)
    with_paste, without = ([len(b.targets[0].labels) for b in loader] for _ in range(2))
    plain = [len(scenes.frame(token).labels) for token in scenes.tokens]
    assert without == plain
    assert all(a > b for a, b in zip(with_paste, plain, strict=True))
    again = Loader(scenes, SMALL, spec, 1, shuffle=False, seed=0)
    bare = Loader(scenes, SMALL, replace(spec, paste=None), 1, shuffle=False, seed=0)
    for ours, theirs in zip(again, bare, strict=True):  # other draws stay the same
        assert torch.equal(ours.images, theirs.images)


def test_kitti_database_holds_every_object(kitti_root: Path) -> None:
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    database = open_database(scenes)
    labelled = sum(len(scenes.frame(token).labels) for token in scenes.tokens)
    assert len(database.boxes) == labelled > 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"objects": {"cow": 1}}, "objects: class 'cow' is unknown; allowed: car, "),
        ({"objects": {"car": -1}}, "objects.car: value -1; allowed: 0 and above"),
        ({"min_points": 0}, "min_points: value 0; allowed: 1 and above"),
    ],
)
def test_wrong_paste_options_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as raised:
        PasteSpec(**fields)  # type: ignore[arg-type]
    assert said in str(raised.value)


def test_a_damaged_frame_has_no_objects_where_it_may_be_skipped(tmp_path: Path) -> None:
    root = make_scenes(tmp_path / "synthetic", num_scenes=2, frames=2, workers=1, progress=False)
    spec = NuScenesSpec(root=str(root), version="v1.0-procedural", split="all")
    path = sorted((root / "samples" / "LIDAR_TOP").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadSample, match=path.name):
        open_database(NuScenesScenes(spec))
    scenes = NuScenesScenes(spec, "skip")
    loader = Loader(scenes, SMALL, AugmentSpec(paste=PasteSpec()), 1, shuffle=False, seed=0)
    assert len(list(loader)) == len(scenes.tokens) - 1
    assert list(scenes.skipped) == scenes.tokens[:1]
