"""The detection score beside nuscenes-devkit's filter and accumulate, on made boxes: 350
predictions and 35 labels a sample; then the same from a results file, reading included.
`python -m benchmarks.detection_score 81 600 6019` (the last takes the devkit minutes).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.algo import accumulate
from nuscenes.eval.detection.data_classes import DetectionBox

from benchmarks.timing import seconds
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.scoring.box_table import ATTRIBUTES, BoxTable
from sparsefront.scenes.scoring.detection_table import detection_table
from sparsefront.scenes.scoring.filters import Places, filter_boxes
from sparsefront.scenes.scoring.nuscenes_detection import DetectionConfig, score
from sparsefront.scenes.scoring.submission import read_submission

PREDICTIONS, LABELS = 350, 35
SHARES = np.array([0.42, 0.08, 0.02, 0.02, 0.03, 0.13, 0.02, 0.02, 0.18, 0.08])


def speed(samples: tuple[int, ...] = (81, 600, 6019)) -> None:
    config = DetectionConfig()
    for count in (8, *samples):  # the first compiles
        wanted, found = made(count, LABELS, 0), made(count, PREDICTIONS, 1)
        places = Places(
            ego=np.zeros((count, 2)), sample=np.zeros(0, np.int64), center=np.zeros((0, 3)),
            size=np.zeros((0, 3)), turn=np.zeros((0, 3, 3)),
        )  # fmt: skip
        truth = filter_boxes(wanted, places, config)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            write(path, found, count)
            before = ours(truth, found, path, places)
            if count == 8:
                continue
            load, theirs = devkit_load(path), devkit(truth, found, count)
            after = ours(truth, found, path, places)  # the machine may be busier than before
        mine, tensors, from_file = ((x + y) / 2 for x, y in zip(before, after, strict=True))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"detection score, {count} samples: {mine:.3f} s, devkit {theirs:.1f} s, "
            f"{theirs / mine:.0f} x; from a trial's tensors {tensors:.3f} s, "
            f"{theirs / tensors:.0f} x; from a results file {from_file:.2f} s, devkit "
            f"{load + theirs:.1f} s, {(load + theirs) / from_file:.0f} x (peak of both "
            f"{memory:.2f} GiB)",
            flush=True,
        )


def ours(
    truth: BoxTable, found: BoxTable, path: Path, places: Places
) -> tuple[float, float, float]:
    """Seconds of our filter and score, of the same from tensors in LiDAR frames, and of the same
    with reading the file.
    """
    config = DetectionConfig()
    count = len(places.ego)
    scenes: Any = SimpleNamespace(
        tokens=[str(number) for number in range(count)],
        lidar_to_globals=lambda: np.tile(np.eye(4), (count, 1, 1)),
    )
    from_arrays = seconds(lambda: score(truth, filter_boxes(found, places, config), config))
    detections = tensors_of(found, scenes.tokens)
    from_tensors = seconds(
        lambda: score(
            truth, filter_boxes(detection_table(scenes, detections), places, config), config
        )
    )
    started = time.perf_counter()
    read = read_submission(path, scenes)
    score(truth, filter_boxes(read, places, config), config)
    return from_arrays, from_tensors, time.perf_counter() - started


def tensors_of(found: BoxTable, tokens: list[str]) -> dict[str, Detections]:
    """Boxes as a model predicts them, frame by frame, the best first."""
    found = found[np.lexsort((-found.score, found.sample))]
    flat = np.zeros(len(found))
    boxes = np.column_stack([found.center, found.size[:, [1, 0, 2]], flat, found.velocity])
    columns = [torch.from_numpy(x) for x in (boxes.astype(np.float32), found.score, found.label)]
    parts = zip(*(c.split(PREDICTIONS) for c in columns), strict=True)
    return {
        token: Detections(boxes=b, scores=s.float(), labels=k)
        for token, (b, s, k) in zip(tokens, parts, strict=True)
    }


def write(path: Path, found: BoxTable, count: int) -> None:
    """A results file in the submission format."""
    boxes = eval_boxes(found, count)
    with path.open("w") as file:
        file.write('{"meta": {}, "results": {')
        for number, token in enumerate(boxes.sample_tokens):
            said = json.dumps([box.serialize() for box in boxes[token]])
            file.write(f'{", " if number else ""}"{token}": {said}')
        file.write("}}")


def devkit_load(path: Path) -> float:
    """Seconds of reading the file into the devkit's boxes."""
    started = time.perf_counter()
    with path.open() as file:
        EvalBoxes.deserialize(json.load(file)["results"], DetectionBox)
    return time.perf_counter() - started


def devkit(wanted: BoxTable, found: BoxTable, count: int) -> float:
    """Seconds of its range filter and accumulate over classes and thresholds."""
    config = config_factory("detection_cvpr_2019")
    truth, boxes = eval_boxes(wanted, count), eval_boxes(found, count)
    started = time.perf_counter()
    for token in boxes.sample_tokens:
        boxes.boxes[token] = [
            b for b in boxes[token] if b.ego_dist < config.class_range[b.detection_name]
        ]
    for name in config.class_names:
        for threshold in config.dist_ths:
            accumulate(truth, boxes, name, config.dist_fcn_callable, threshold)
    return time.perf_counter() - started


def made(samples: int, each: int, seed: int) -> BoxTable:
    """Boxes around places that depend on sample and number alone, so that seeds overlap."""
    places = np.random.default_rng(99).uniform(-45, 45, (samples, LABELS, 2))
    random = np.random.default_rng(seed)
    count = samples * each
    number = np.tile(np.arange(each) % LABELS, samples)
    sample = np.repeat(np.arange(samples), each)
    label = np.random.default_rng(98).choice(10, (samples, LABELS), p=SHARES)[sample, number]
    center = np.zeros((count, 3))
    center[:, :2] = places[sample, number] + random.normal(scale=1.5 * seed, size=(count, 2))
    rotation = np.zeros((count, 4))
    rotation[:, 0] = 1
    return BoxTable(
        sample=sample, label=label, center=center, size=random.uniform(1, 4, (count, 3)),
        rotation=rotation, velocity=random.normal(size=(count, 2)),
        attribute=random.integers(0, len(ATTRIBUTES), count), score=random.random(count),
        num_points=np.full(count, -1),
    )  # fmt: skip


def eval_boxes(table: BoxTable, count: int) -> EvalBoxes:
    boxes = EvalBoxes()
    by_sample: list[list[DetectionBox]] = [[] for _ in range(count)]
    for row in range(len(table)):
        center = tuple(table.center[row].tolist())
        by_sample[table.sample[row]].append(
            DetectionBox(
                sample_token=str(table.sample[row]),
                translation=center,
                ego_translation=center,
                size=tuple(table.size[row].tolist()),
                rotation=tuple(table.rotation[row].tolist()),
                velocity=tuple(table.velocity[row].tolist()),
                detection_name=DETECTION_CLASSES[table.label[row]],
                detection_score=float(table.score[row]),
                attribute_name=ATTRIBUTES[table.attribute[row]],
            )
        )
    for sample, mine in enumerate(by_sample):
        boxes.add_boxes(str(sample), mine)
    return boxes


if __name__ == "__main__":
    speed(tuple(int(a) for a in sys.argv[1:]) or (81, 600, 6019))
