"""KITTI's average precision against a plain reading of the rules, one detection at a time."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from benchmarks.kitti_plain import official, polygon
from sparsefront.errors import InputError
from sparsefront.scenes.kitti_files import KittiObjects, read_objects
from sparsefront.scenes.scoring.kitti_detection import score
from sparsefront.scenes.scoring.kitti_overlap import GROUND, IMAGE, SPACE, frame_overlaps
from tests.helpers import paths

REAL = paths.DATA / "kitti"
KINDS = ["car", "van", "pedestrian", "person_sitting", "cyclist", "truck", "dontcare"]
CAR = {
    "kind": np.array(["car"]), "truncated": np.zeros(1), "occluded": np.zeros(1),
    "alpha": np.zeros(1), "pixels": np.array([[0.0, 0, 50, 50]]),
    "size": np.array([[1.5, 2.0, 4.0]]), "bottom": np.zeros((1, 3)), "turn": np.zeros(1),
    "score": np.ones(1),
}  # fmt: skip


def take(boxes: KittiObjects, rows: np.ndarray) -> KittiObjects:
    return KittiObjects(**{f.name: getattr(boxes, f.name)[rows] for f in fields(boxes)})


def random_frame(random: np.random.Generator, count: int) -> tuple[KittiObjects, KittiObjects]:
    """Objects of all kinds on a coarse grid: overlaps and scores tie, heights meet the
    limits exactly; ignored ones, DontCare regions, boxes without a place in space; detections near.
    """
    corner = random.integers(0, 12, (count, 2)) * 10.0
    high = random.choice([20.0, 24.9, 25, 25.5, 39.9, 40, 41, 60], count)
    kind = random.choice(KINDS, count, p=[0.4, 0.1, 0.15, 0.05, 0.1, 0.05, 0.15])
    truth = KittiObjects(
        kind=kind, truncated=random.choice([0, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6], count),
        occluded=random.choice([0.0, 1, 2, 3], count, p=[0.6, 0.2, 0.1, 0.1]),
        alpha=random.uniform(-3, 3, count),
        pixels=np.column_stack([corner, corner[:, 0] + 40, corner[:, 1] + high]),
        size=random.choice([2.0, 2.9, 4.3], (count, 3)),
        bottom=random.integers(-4, 5, (count, 3)).astype(float),
        turn=random.choice([0, 0.3, math.pi / 2, -1.2], count), score=np.zeros(count),
    )  # fmt: skip
    nowhere = (kind == "dontcare") & (random.random(count) < 0.7)
    truth.size[nowhere], truth.bottom[nowhere], truth.turn[nowhere] = -1, -1000, -10
    rows = random.integers(0, count, random.integers(0, 2 * count + 1))
    near, many = take(truth, rows), len(rows)
    moved = random.random(many) < 0.6
    flat = near.size[:, 0] < 0
    shift = np.where(moved & ~flat, random.choice([0.05, 0.1, -0.15], many), 0.0)
    found = replace(
        near, kind=np.where(
            (near.kind == "dontcare") | (random.random(many) < 0.1), "car", near.kind
        ),
        alpha=near.alpha + random.normal(scale=0.3, size=many),
        pixels=near.pixels + moved[:, None] * random.choice([-2.0, -1, 0, 1, 2], (many, 4)),
        bottom=near.bottom + shift[:, None], turn=near.turn + shift,
        score=random.choice([-1.0, 0.0, 0.2, 0.5, 0.5, 0.9], many),
    )  # fmt: skip
    return truth, found


def compare(frames: list[tuple[KittiObjects, KittiObjects]]) -> None:
    ours = score([t for t, _ in frames], [d for _, d in frames])
    for level in range(3):
        for (metric, kind), (precision, aos) in official(frames, level).items():
            for name, curve in ((metric, precision), ("aos", aos)):
                if name == "aos" and metric != "bbox":
                    continue
                found = ours[name][kind]
                assert found["R40"][level] == pytest.approx(100 * sum(curve[1:]) / 40, abs=1e-9)
                assert found["R11"][level] == pytest.approx(100 * sum(curve[::4]) / 11, abs=1e-9)


def sets_of_frames(seeds: range) -> list[list[tuple[KittiObjects, KittiObjects]]]:
    found = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        found.append([random_frame(random, int(random.integers(1, 9))) for _ in range(20)])
    return found


def test_random_frames_score_as_the_official_program() -> None:
    for frames in sets_of_frames(range(4)):
        compare(frames)


@pytest.mark.long
def test_thousands_of_random_frames_score_as_the_official_program() -> None:
    for frames in sets_of_frames(range(4, 104)):
        compare(frames)


def test_empty_frames_score_as_the_official_program() -> None:
    random = np.random.default_rng(0)
    (truth, found), nothing = random_frame(random, 8), np.zeros(0, int)
    compare([(truth, found), (take(truth, nothing), found), (truth, take(found, nothing))])
    compare([(take(truth, nothing), take(found, nothing))])
    assert score([], [])["3d"]["car"]["R40"] == [0.0, 0.0, 0.0]


def cars(count: int, apart: float = 100.0) -> KittiObjects:
    boxes = take(KittiObjects(**CAR), np.zeros(count, int))
    places = np.arange(count) * apart
    return replace(
        boxes, pixels=boxes.pixels + places[:, None] * [1, 0, 1, 0],
        bottom=boxes.bottom + places[:, None] * [1, 0, 0],
    )  # fmt: skip


def test_perfect_detections_reach_one_point_an_object() -> None:
    """N objects give N points: (N - 1) / 40 at 40 points."""
    found = score([cars(12)], [cars(12)])
    assert found["3d"]["car"]["R40"] == pytest.approx([100 * 11 / 40] * 3)
    assert found["bbox"]["car"]["R11"] == pytest.approx([100 * 3 / 11] * 3)
    assert score([cars(60)], [cars(60)])["aos"]["car"]["R40"] == pytest.approx([100.0] * 3)


def test_a_missing_angle_leaves_out_orientation() -> None:
    """One detection of any class with alpha -10 and orientation is not evaluated at all."""
    found = replace(cars(3), kind=np.array(["car", "car", "tram"]), alpha=np.array([0, 0, -10.0]))
    answer = score([cars(3)], [found])
    assert answer["aos"] == {}
    assert answer["bbox"]["car"]["R40"][0] > 0


def test_regions_without_a_place_excuse_boxes_without_one() -> None:
    """From above both are a square metre at -1000; in space their volume is nothing."""
    truth, found = replace(cars(2), kind=np.array(["car", "dontcare"])), cars(3)
    truth.size[1], truth.bottom[1], truth.turn[1] = -1, -1000, -10
    found.size[1], found.bottom[1], found.turn[1] = -1, -1000, -10
    found.pixels[1:] += 5000
    found.bottom[2] += 5000
    answer = score([truth], [replace(found, score=np.ones(3))])
    assert answer["bev"]["car"]["R11"][0] == pytest.approx(100 / 2 / 11)
    assert answer["3d"]["car"]["R11"][0] == pytest.approx(100 / 3 / 11)


def test_numbers_that_are_not_finite_are_named() -> None:
    bad = replace(cars(3), score=np.array([1.0, 1.0, np.nan]))
    with pytest.raises(InputError, match="detections: frame 1, row 2: a number is not finite"):
        score([cars(2), cars(3)], [cars(2), bad])
    with pytest.raises(InputError, match="detections: 1 frames; allowed: 2, one each"):
        score([cars(2), cars(3)], [cars(2)])


def test_a_class_left_of_the_image_is_not_evaluated() -> None:
    """The official program evaluates no class all of whose boxes begin left of the image."""
    boxes = replace(cars(3), pixels=cars(3).pixels - [1000, 0, 1000, 0])
    answer = score([boxes], [boxes])
    assert answer["bbox"]["car"]["R40"] == [0.0, 0.0, 0.0]
    assert answer["bev"]["car"]["R40"][0] == pytest.approx(100 * 2 / 40)


def test_overlaps_by_hand() -> None:
    """4 x 2 m, a quarter turn: half of each in common, a third of the union."""
    still = KittiObjects(**CAR)
    turned = KittiObjects(**{**CAR, "turn": np.array([math.pi / 2])})
    assert frame_overlaps(still, turned, GROUND)[0, 0] == pytest.approx(4 / 12)
    raised = KittiObjects(**{**CAR, "bottom": np.array([[0.0, -0.75, 0.0]])})
    assert frame_overlaps(still, raised, SPACE)[0, 0] == pytest.approx(1 / 3)
    moved = KittiObjects(**{**CAR, "pixels": np.array([[25.0, 0, 75, 50]])})
    assert frame_overlaps(still, moved, IMAGE)[0, 0] == pytest.approx(1 / 3)


def test_overlaps_equal_shapely() -> None:
    random = np.random.default_rng(0)
    for _ in range(40):
        count = 20
        boxes = [
            replace(
                take(KittiObjects(**CAR), np.zeros(count, int)),
                size=random.uniform(0.5, 5, (count, 3)),
                bottom=random.uniform(-3, 3, (count, 3)) * [1, 0.3, 1],
                turn=random.uniform(-4, 4, count),
            )
            for _ in range(2)
        ]
        ours = frame_overlaps(*boxes, GROUND)
        a, b = ([polygon(x, n) for n in range(count)] for x in boxes)
        common = shapely.area(shapely.intersection(np.array(a)[:, None], np.array(b)[None]))
        union = np.add.outer(shapely.area(a), shapely.area(b)) - common
        assert np.abs(ours - common / union).max() < 1e-12
        same = np.diag(frame_overlaps(boxes[0], boxes[0], SPACE))
        assert np.abs(same - 1).max() < 1e-12  # where float32 kernels give 0


def test_wrong_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "000000.txt"
    line = "Car 0 0 0 0 0 50 50 1.5 1.6 4.0 0 1 10 0"
    for text, scored, message in (
        (f"{line}\n{line.rpartition(' ')[0]}", False, "line 2: 14 columns; allowed: 15"),
        (f"{line} nan", True, "line 1: score 'nan'; allowed: a finite number"),
        (f"{line} x", True, "line 1: score 'x'; allowed: a number"),
        (f"{line} 1_0", True, "line 1: score '1_0'; allowed: a number"),
        (line.replace("Car 0 0", "Car 1.5 0"), False, "line 1: truncation 1.5; allowed: 0..1"),
        (line.replace("Car 0 0", "Car 0 4"), False, "line 1: occlusion 4; allowed: 0, 1, 2, 3"),
        (line.replace("10 0", "10 7"), False, "line 1: rotation_y 7; allowed: -pi..pi, or -10"),
        (f"{line.replace('1.6', '-1')} 1", True, r"line 1: height, width, length \[1.5, -1"),
    ):
        path.write_text(f"{text}\n")
        with pytest.raises(InputError, match=f"000000.txt: {message}"):
            read_objects(path, scored=scored)
    with pytest.raises(InputError, match="is missing; allowed: one file a frame"):
        read_objects(tmp_path / "1.txt", scored=True)
    with pytest.raises(InputError, match="Is a directory; allowed: one file a frame"):
        read_objects(tmp_path, scored=True)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real KITTI detections here")
@pytest.mark.parametrize("detector", ["point_gnn", "wjy_detector"])
def test_real_detections_score_as_the_official_program(detector: str) -> None:
    names = sorted(p.name for p in (REAL / "detections" / detector).glob("*.txt"))
    truth = [read_objects(REAL / "training" / "label_2" / n, scored=False) for n in names]
    found = [read_objects(REAL / "detections" / detector / n, scored=True) for n in names]
    compare(list(zip(truth, found, strict=True)))
    assert score(truth, found)["3d"]["car"]["R40"][1] > 5
