"""The vectorised detection score against nuscenes-devkit's own functions, on hard inputs."""

from __future__ import annotations

import io
import itertools
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring.box_table import ATTRIBUTES, NO_ATTRIBUTE, BoxTable
from sparsefront.scenes.scoring.devkit_detection import devkit_score
from sparsefront.scenes.scoring.filters import Places, filter_boxes, in_rack
from sparsefront.scenes.scoring.nuscenes_detection import (
    ERRORS,
    WITHOUT,
    DetectionConfig,
    DetectionScores,
    score,
)
from sparsefront.scenes.scoring.nuscenes_frames import ground_truth_table, places_of, score_table
from sparsefront.scenes.scoring.submission import read_submission
from sparsefront.scenes.scoring.submission_writer import write_detections
from tests.helpers import paths

SAMPLES = 12
MINIVAL = paths.DATA / "nuscenes_minival"


def random_tables(seed: int, boxes: int = 400) -> tuple[BoxTable, BoxTable]:
    """Ground truth, and predictions near it; some classes and samples are without either."""
    random = np.random.default_rng(seed)
    count = boxes // 3
    label = random.choice([0, 1, 3, 5, 7, 8, 9], count)
    wanted = BoxTable(
        sample=np.sort(random.integers(0, SAMPLES - 2, count)),
        label=label,
        center=random.uniform(-20, 20, (count, 3)),
        size=random.uniform(0.5, 5, (count, 3)),
        rotation=random.normal(size=(count, 4)),
        velocity=np.where(random.random((count, 1)) < 0.2, np.nan, random.normal(size=(count, 2))),
        attribute=random.integers(-1, len(ATTRIBUTES), count),
        score=np.full(count, -1.0),
        num_points=np.ones(count, np.int64),
    )
    near = random.integers(0, count, boxes)
    found = wanted[near]
    found = replace(
        found,
        center=found.center + random.normal(scale=1.5, size=(boxes, 3)),
        size=found.size * random.uniform(0.7, 1.4, (boxes, 1)),
        rotation=found.rotation + 0.2 * random.normal(size=(boxes, 4)),
        velocity=random.normal(size=(boxes, 2)),
        attribute=random.integers(0, len(ATTRIBUTES), boxes),
        label=np.where(random.random(boxes) < 0.1, 2, found.label),
        score=random.random(boxes),
    )
    order = np.argsort(found.sample, kind="stable")
    return wanted, found[order]


def devkit(wanted: BoxTable, found: BoxTable) -> DetectionScores:
    """As DetectionEval.evaluate, on unfiltered boxes."""
    config = config_factory("detection_cvpr_2019")
    boxes = [eval_boxes(wanted), eval_boxes(found)]
    metrics = DetectionMetrics(config)
    for name in config.class_names:
        for threshold in config.dist_ths:
            data = accumulate(*boxes, name, config.dist_fcn_callable, threshold)
            metrics.add_label_ap(
                name, threshold, calc_ap(data, config.min_recall, config.min_precision)
            )
            if threshold == config.dist_th_tp:
                for error in ERRORS:
                    value = calc_tp(data, config.min_recall, error)
                    metrics.add_label_tp(
                        name, error, np.nan if error in WITHOUT.get(name, ()) else value
                    )
    said = metrics.serialize()
    return DetectionScores(
        mAP=said["mean_ap"], NDS=said["nd_score"], per_class=said["mean_dist_aps"],
        tp_errors=said["tp_errors"], label_aps=said["label_aps"],
        label_tp_errors=said["label_tp_errors"],
    )  # fmt: skip


def eval_boxes(table: BoxTable) -> EvalBoxes:
    boxes = EvalBoxes()
    for sample in range(SAMPLES):
        rows = np.flatnonzero(table.sample == sample)
        boxes.add_boxes(str(sample), [devkit_box(table, row) for row in rows])
    return boxes


def devkit_box(table: BoxTable, row: int) -> DetectionBox:
    number = int(table.attribute[row])
    return DetectionBox(
        sample_token=str(table.sample[row]), translation=tuple(table.center[row]),
        size=tuple(table.size[row]), rotation=tuple(table.rotation[row]),
        velocity=tuple(table.velocity[row]), detection_score=float(table.score[row]),
        detection_name=DETECTION_CLASSES[int(table.label[row])],
        attribute_name="" if number == NO_ATTRIBUTE else ATTRIBUTES[number],
    )  # fmt: skip


def check(ours: DetectionScores, theirs: DetectionScores) -> None:
    assert ours.mAP == pytest.approx(theirs.mAP, abs=1e-12)
    assert pytest.approx(theirs.NDS, abs=1e-12) == ours.NDS
    assert ours.tp_errors == pytest.approx(theirs.tp_errors, abs=1e-9)
    for name, aps in theirs.label_aps.items():
        assert ours.label_aps[name] == pytest.approx(aps, abs=1e-12), name
        errors = theirs.label_tp_errors[name]
        assert ours.label_tp_errors[name] == pytest.approx(errors, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(4))
def test_random_boxes_score_as_the_devkit(seed: int) -> None:
    check(score(*random_tables(seed)), devkit(*random_tables(seed)))


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_equal_scores_are_ordered_as_the_devkit_does(digits: int) -> None:
    """Among equal scores the later box comes first."""
    wanted, found = random_tables(7)
    found = replace(found, score=found.score.round(digits))
    check(score(wanted, found), devkit(wanted, found))


def test_equal_distances_are_matched_as_the_devkit_does() -> None:
    """Boxes on a grid of half metres: many are equally near."""
    wanted, found = random_tables(8)
    wanted, found = (replace(t, center=(t.center * 2).round() / 2) for t in (wanted, found))
    check(score(wanted, found), devkit(wanted, found))


def test_empty_tables_score_as_the_devkit() -> None:
    wanted, found = random_tables(9)
    for truth, boxes in (
        (wanted, BoxTable.empty()),
        (BoxTable.empty(), found),
        (wanted, found[np.array([3])]),
        (wanted[np.array([0])], found),
        (wanted, replace(found, velocity=np.full_like(found.velocity, np.nan))),
        (wanted, replace(found, score=np.zeros(len(found)))),
    ):
        check(score(truth, boxes), devkit(truth, boxes))


def test_negative_and_nan_scores_raise() -> None:
    wanted, found = random_tables(1)
    for bad in (-0.1, np.nan):
        with pytest.raises(InputError, match="detection_score: value"):
            score(wanted, replace(found, score=np.full(len(found), bad)))


def test_racks_are_the_devkits_boxes() -> None:
    """Random bicycles about a turned rack: inside for both or for neither."""
    random = np.random.default_rng(0)
    _, boxes = random_tables(2)
    boxes = replace(
        boxes, sample=np.zeros(len(boxes), np.int64), label=np.full(len(boxes), 7),
        center=random.uniform(-4, 4, (len(boxes), 3)),
    )  # fmt: skip
    rack = Box([0.5, 0.2, 0.1], [2.0, 5.0, 3.0], Quaternion(axis=[0, 0.1, 1], radians=0.7))
    places = Places(
        ego=np.zeros((1, 2)), sample=np.array([0]), center=rack.center[None], size=rack.wlh[None],
        turn=rack.rotation_matrix[None],
    )  # fmt: skip
    inside = in_rack(boxes, places)
    assert 10 < inside.sum() < len(boxes) - 10
    assert np.array_equal(inside, points_in_box(rack, boxes.center.T))
    cars = replace(boxes, label=np.zeros(len(boxes), np.int64))
    assert not in_rack(cars, places).any()


@pytest.mark.parametrize("seed", range(20))
def test_borders_of_racks_are_rounded_as_the_devkits(seed: int) -> None:
    """Corners and middles of the sides of a rack far from the origin."""
    random = np.random.default_rng(seed)
    rack = Box(
        random.normal(0, 1000, 3), random.uniform(0.2, 5, 3).round(3),
        Quaternion(random.normal(0, [1, 0.01, 0.01, 1])).normalised,
    )  # fmt: skip
    side = np.array(list(itertools.product((-0.5, 0.0, 0.3, 0.5), repeat=3)))
    centers = rack.center + (side * rack.wlh[[1, 0, 2]]) @ rack.rotation_matrix.T
    _, boxes = random_tables(2)
    boxes = boxes[np.zeros(len(side), np.int64)]
    boxes = replace(
        boxes, sample=np.zeros(len(side), np.int64), label=np.full(len(side), 7), center=centers
    )
    places = Places(
        ego=np.zeros((1, 2)), sample=np.array([0]), center=rack.center[None], size=rack.wlh[None],
        turn=rack.rotation_matrix[None],
    )  # fmt: skip
    theirs = [bool(points_in_box(rack, center[:, None])[0]) for center in centers]
    assert in_rack(boxes, places).tolist() == theirs


def test_filters_drop_far_and_empty_boxes() -> None:
    """At the range's end a box is out; without points it is out; not counted is in."""
    _, boxes = random_tables(3)
    boxes = boxes[np.arange(4)]
    boxes = replace(
        boxes, sample=np.zeros(4, np.int64), label=np.zeros(4, np.int64),
        center=np.array([[51.0, 1, 0], [50.9, 1, 0], [3, 0, 0], [3, 0, 0]]),
        num_points=np.array([-1, -1, 0, 5]),
    )  # fmt: skip
    places = Places(
        ego=np.array([[1.0, 1.0]]), sample=np.zeros(0, np.int64), center=np.zeros((0, 3)),
        size=np.zeros((0, 3)), turn=np.zeros((0, 3, 3)),
    )  # fmt: skip
    kept = filter_boxes(boxes, places, DetectionConfig())
    assert kept.center[:, 0].tolist() == [50.9, 3.0]


@pytest.fixture(scope="module")
def scenes(tiny_root: Path) -> NuScenesScenes:
    return NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="procedural_val")
    )


def test_a_data_set_scores_as_the_devkit(scenes: NuScenesScenes) -> None:
    """Filters, poses and annotations included: the devkit's DetectionEval says the same."""
    random = np.random.default_rng(0)
    truth = ground_truth_table(scenes)
    assert len(truth) > 5
    found = replace(
        truth, center=truth.center + random.normal(scale=0.6, size=truth.center.shape),
        velocity=random.normal(size=truth.velocity.shape), score=random.random(len(truth)),
        num_points=np.full(len(truth), -1),
    )  # fmt: skip
    check(score_table(scenes, found), devkit_score(scenes, found))
    assert len(places_of(scenes).ego) == len(scenes.tokens)


def written(scenes: NuScenesScenes, path: Path, change: Any = None) -> Path:
    boxes = replace(
        ground_truth_table(scenes), num_points=np.full(len(ground_truth_table(scenes)), -1)
    )
    boxes = replace(boxes, score=np.linspace(0.1, 1, len(boxes)))
    write_detections(path, scenes, boxes, frozenset())
    if change is not None:
        content = json.loads(path.read_text())
        change(content["results"])
        path.write_text(json.dumps(content))
    return path


def test_a_submission_is_read_back(scenes: NuScenesScenes, tmp_path: Path) -> None:
    found = read_submission(written(scenes, tmp_path / "a.json"), scenes)
    assert np.allclose(found.center, ground_truth_table(scenes).center)
    assert score_table(scenes, found).mAP > 0.05


def test_wrong_submissions_are_named_in_one_line(scenes: NuScenesScenes, tmp_path: Path) -> None:
    """One line that names file, sample and box."""
    token = scenes.tokens[0]
    changes = {
        "is missing": lambda r: r.pop(token),
        "is unknown": lambda r: r.update(more=[]),
        "501 boxes; allowed: 500": lambda r: r.update({token: r[token][:1] * 501}),
        "box 0: detection_name: value 'tank'": lambda r: r[token][0].update(detection_name="tank"),
        "box 0: translation: value": lambda r: r[token][0].update(translation=[0, 0, float("nan")]),
        "box 0: detection_score": lambda r: r[token][0].update(detection_score=float("nan")),
        "box 0: attribute_name": lambda r: r[token][0].update(attribute_name="flying"),
        "box 0: 'size'": lambda r: r[token][0].pop("size"),
        "box 0: size: value .*above 0": lambda r: r[token][0].update(size=[1, 0, 1]),
        "box 0: velocity: an integer of": lambda r: r[token][0].update(velocity=[10**400, 0]),
        "box 0: num_pts: value inf": lambda r: r[token][0].update(num_pts=float("inf")),
        "box 0: num_pts: value None": lambda r: r[token][0].update(num_pts=None),
        "box 0: detection_score: value inf": lambda r: r[token][0].update(
            detection_score=float("inf")
        ),
        "box 0: sample_token: value 'x'": lambda r: r[token][0].update(sample_token="x"),
    }
    for said, change in changes.items():
        path = written(scenes, tmp_path / "wrong.json", change)
        with pytest.raises(InputError, match=said) as caught:
            read_submission(path, scenes)
        assert "wrong.json" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_lists_too_deep_for_the_parser_are_refused(scenes: NuScenesScenes, tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text('{"results": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(InputError, match=r"deep\.json: .*allowed: a submission"):
        read_submission(path, scenes)


def test_equal_scores_of_an_own_split_go_sample_by_sample(
    scenes: NuScenesScenes, tmp_path: Path
) -> None:
    """The devkit reads such a split sample by sample, whatever the order of the file."""

    def turned(results: dict[str, list[dict[str, Any]]]) -> None:
        results.update({t: results.pop(t) for t in list(results)[::-1]})
        for boxes in results.values():
            for at, box in enumerate(boxes):
                shift = 3.0 * (at % 3)
                box.update(detection_score=0.5, translation=[box["translation"][0] + shift,
                                                             *box["translation"][1:]])  # fmt: skip

    path = written(scenes, tmp_path / "turned.json", turned)
    nusc = scenes.nusc
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        evaluation = DetectionEval(
            nusc, config_factory("detection_cvpr_2019"), str(path), scenes.spec.split,
            str(tmp_path), verbose=False,
        )  # fmt: skip
        theirs = evaluation.evaluate()[0]
    ours = score_table(scenes, read_submission(path, scenes))
    assert abs(ours.mAP - theirs.mean_ap) < 1e-12
    assert abs(ours.NDS - theirs.nd_score) < 1e-12


@pytest.mark.long
@pytest.mark.skipif(not MINIVAL.is_dir(), reason="no real results files here")
@pytest.mark.parametrize("name", ["centerpoint", "megvii"])
def test_real_results_score_as_the_devkit(name: str) -> None:
    spec = NuScenesSpec(root=str(MINIVAL), version="v1.0-mini", split="mini_val")
    real = NuScenesScenes(spec)
    boxes = read_submission(MINIVAL / "results" / f"{name}_results_nusc.json", real)
    check(score_table(real, boxes), devkit_score(real, boxes))
