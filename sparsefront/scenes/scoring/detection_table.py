"""Turns a model's detections into the table that is scored: in the global frame."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.box_table import (
    ATTRIBUTES,
    NO_ATTRIBUTE,
    UNKNOWN_POINTS,
    BoxTable,
    Floats,
    Ints,
)
from sparsefront.scenes.scoring.nuscenes_detection import DetectionConfig

MOVING_M_PER_S = 0.2
"""From this speed on a box gets the attribute of a moving object, as in CenterPoint's code."""
STILL = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "bus": "vehicle.stopped",
    "trailer": "vehicle.parked",
    "motorcycle": "cycle.without_rider",
    "bicycle": "cycle.without_rider",
    "pedestrian": "pedestrian.standing",
}
MOVING = {
    **dict.fromkeys(("car", "truck", "construction_vehicle", "bus", "trailer"), "vehicle.moving"),
    **dict.fromkeys(("motorcycle", "bicycle"), "cycle.with_rider"),
    "pedestrian": "pedestrian.moving",
}
LIKELY = np.array(
    [
        [ATTRIBUTES.index(kind[name]) if name in kind else NO_ATTRIBUTE for kind in (STILL, MOVING)]
        for name in DETECTION_CLASSES
    ]
)
"""[10, 2] the likelier attribute of a class standing and moving; none for barriers and cones."""


def detection_table(scenes: NuScenesScenes, detections: Mapping[str, Detections]) -> BoxTable:
    """The best 500 detections of each frame, in the global frame; attributes by class and speed."""
    found = [detections[token] for token in scenes.tokens]
    scores = torch.cat([d.scores for d in found]).double().numpy()
    label = torch.cat([d.labels for d in found]).numpy().astype(np.int64)
    ends = np.cumsum([len(d.scores) for d in found])
    rows, sample = best_of_frames(scores, ends, DetectionConfig().max_boxes)
    boxes = torch.cat([d.boxes for d in found]).numpy()
    center, size, rotation, velocity = to_global(boxes, rows, sample, scenes.lidar_to_globals())
    label = label[rows]
    moving = np.hypot(velocity[:, 0], velocity[:, 1]) > MOVING_M_PER_S
    return BoxTable(
        sample=sample, label=label, center=center, size=size, rotation=rotation, velocity=velocity,
        attribute=LIKELY[label, moving.astype(np.int64)], score=scores[rows],
        num_points=np.full(len(rows), UNKNOWN_POINTS, np.int64),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def best_of_frames(scores: Floats, ends: Ints, most: int) -> tuple[Ints, Ints]:
    """Rows frame by frame, best score first (of equals the earlier), at most so many of each; and
    the frame of each. Frame i has the rows before ends[i].
    """
    rows, frame = np.empty(len(scores), np.int64), np.empty(len(scores), np.int64)
    count, start = 0, 0
    for number in range(len(ends)):
        mine = scores[start : ends[number]]
        order = np.arange(len(mine))
        if (mine[1:] > mine[:-1]).any():  # models give the best first
            order = np.argsort(-mine, kind="mergesort")
        order = order[:most]
        rows[count : count + len(order)] = order + start
        frame[count : count + len(order)] = number
        count, start = count + len(order), ends[number]
    return rows[:count], frame[:count]


@njit(cache=True, nogil=True)
def half_turn(ahead: float, aside: float) -> tuple[float, float]:
    """Cosine and sine of half the angle of the direction (ahead, aside); 1, 0 for none. The larger
    of the two by a root, so that neither loses digits.
    """
    length = math.sqrt(ahead * ahead + aside * aside)
    if length == 0:
        return 1.0, 0.0
    cosine, sine = ahead / length, aside / length
    if cosine >= 0:
        half = math.sqrt((1 + cosine) / 2)
        return half, sine / (2 * half)
    half = math.copysign(math.sqrt((1 - cosine) / 2), sine)
    return sine / (2 * half), half


@njit(cache=True, nogil=True)
def to_global(
    boxes: NDArray[np.floating], rows: Ints, sample: Ints, poses: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Centre [N, 3], size [N, 3] (width, length, height), rotation [N, 4] (a turn about z) and
    velocity [N, 2] of those rows of boxes [*, 9] (as scenes.batch.Targets), each moved by the pose
    [4, 4] of its sample.
    """
    count = len(rows)
    center, size = np.empty((count, 3)), np.empty((count, 3))
    rotation, velocity = np.zeros((count, 4)), np.empty((count, 2))
    box = np.empty(9)
    for at in range(count):
        for field in range(9):
            box[field] = boxes[rows[at], field]
        pose = poses[sample[at]]
        for axis in range(3):
            turned = pose[axis, 0] * box[0] + pose[axis, 1] * box[1] + pose[axis, 2] * box[2]
            center[at, axis] = turned + pose[axis, 3]
        size[at, 0], size[at, 1], size[at, 2] = box[4], box[3], box[5]
        cosine, sine = math.cos(box[6]), math.sin(box[6])
        ahead = pose[0, 0] * cosine + pose[0, 1] * sine
        aside = pose[1, 0] * cosine + pose[1, 1] * sine
        rotation[at, 0], rotation[at, 3] = half_turn(ahead, aside)
        for axis in range(2):
            velocity[at, axis] = pose[axis, 0] * box[7] + pose[axis, 1] * box[8]
    return center, size, rotation, velocity
