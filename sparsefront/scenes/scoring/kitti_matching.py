"""Recall and precision on KITTI at one overlap: what overfitting a few frames can be judged by (the
benchmark's AP means little below some hundred objects).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.geometry import Array
from sparsefront.scenes.kitti import CLASSES, Label
from sparsefront.scenes.kitti_files import KittiObjects
from sparsefront.scenes.scoring import kitti_overlap
from sparsefront.scenes.scoring.kitti_detection import NEIGHBOUR


@dataclass(frozen=True)
class Matching:
    """Of one class, over all frames: recall of labels up to each difficulty (easy, moderate, hard),
    precision of detections; those that meet a harder label or a neighbouring class do not count.
    """

    recall: tuple[float, float, float]
    precision: float
    labels: tuple[int, int, int]
    detections: int


def match(
    labels: Mapping[str, Sequence[Label]],
    detections: Mapping[str, Detections],
    kind: str = "Car",
    overlap: float = 0.7,
    score: float = 0.5,
) -> Matching:
    """Greedy matching, best score first, of boxes scored at least `score` by 3-D overlap."""
    number = DETECTION_CLASSES.index(CLASSES[kind])
    found, total = np.zeros(3, int), np.zeros(3, int)
    right = counted = 0
    for token, own in labels.items():
        wanted = [x for x in own if x.kind.lower() in (kind.lower(), NEIGHBOUR[kind.lower()])]
        predicted = detections[token]
        chosen = (predicted.labels == number) & (predicted.scores >= score)
        boxes = predicted.boxes[chosen].double().numpy()
        order = predicted.scores[chosen].argsort(descending=True, stable=True).numpy()
        ious = box_overlaps(boxes[order], np.array([x.box for x in wanted]).reshape(-1, 7))
        free = np.ones(len(wanted), bool)
        hit = np.zeros(len(wanted), bool)
        for row in ious:
            row = np.where(free, row, 0.0)
            best = int(row.argmax()) if len(row) else -1
            if best < 0 or row[best] < overlap:
                counted += 1
                continue
            free[best], hit[best] = False, True
            if wanted[best].kind == kind and wanted[best].difficulty is not None:
                counted, right = counted + 1, right + 1
        for label, was_hit in zip(wanted, hit, strict=True):
            if label.kind == kind and label.difficulty is not None:
                total[label.difficulty :] += 1
                found[label.difficulty :] += was_hit
    easy, moderate, hard = (float(v) for v in found / np.maximum(total, 1))
    return Matching(
        recall=(easy, moderate, hard), precision=right / max(counted, 1),
        labels=(int(total[0]), int(total[1]), int(total[2])), detections=counted,
    )  # fmt: skip


def box_overlaps(boxes: Array, others: Array) -> Array:
    """3-D intersection over union [K, M] of boxes [*, 7+]: x, y, z of the centre, length, width,
    height, yaw counter-clockwise from +x.
    """
    return kitti_overlap.frame_overlaps(_as_kitti(boxes), _as_kitti(others), kitti_overlap.SPACE)


def _as_kitti(boxes: Array) -> KittiObjects:
    """Boxes in KITTI's axes: our y is its z (ahead), our z turned down is its y."""
    nothing = np.zeros(len(boxes))
    x, y, z, height, yaw = (boxes[:, n] for n in (0, 1, 2, 5, 6))
    return KittiObjects(
        kind=np.zeros(len(boxes), np.str_), truncated=nothing, occluded=nothing, alpha=nothing,
        pixels=np.zeros((len(boxes), 4)), size=boxes[:, [5, 4, 3]],
        bottom=np.stack([x, height / 2 - z, y], axis=1), turn=-yaw, score=nothing,
    )  # fmt: skip
