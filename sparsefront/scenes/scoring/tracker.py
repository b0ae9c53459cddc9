"""Tracking by detection on predicted velocities (CenterPoint: Yin et al., CVPR 2021, sec. 4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.scoring.box_table import BoxTable, Floats, Ints
from sparsefront.scenes.scoring.track_table import (
    TRACKED_LABELS,
    TRACKING_CLASSES,
    TrackFrames,
    TrackTable,
)

Flags = NDArray[np.bool_]
NONE = -1
DISTANCE_M = {
    "bicycle": 3.0, "bus": 5.5, "car": 4.0, "motorcycle": 13.0, "pedestrian": 1.0, "trailer": 3.0,
    "truck": 4.0,
}  # fmt: skip
"""CenterPoint's choice: its velocity errors on nuScenes, by class."""


@dataclass(frozen=True, kw_only=True)
class TrackerSpec:
    """A detection, moved back by its velocity over the time since the last frame, continues the
    nearest free track of its class; detections choose in the order of their scores.

    max_age     frames that a track lives on without a detection, moved on by its velocity
    distance_m  how near a track must be, by class; of a class left out DISTANCE_M
    """

    name: Literal["greedy_velocity"] = "greedy_velocity"
    max_age: int = 3
    distance_m: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_age < 0:
            raise InputError(f"max_age: value {self.max_age}; allowed: 0 and above")
        if unknown := [name for name in self.distance_m if name not in TRACKING_CLASSES]:
            raise InputError(
                f"distance_m: class {unknown[0]!r} is unknown; allowed: "
                f"{', '.join(TRACKING_CLASSES)}"
            )
        object.__setattr__(self, "distance_m", {**DISTANCE_M, **self.distance_m})
        for name, limit in self.distance_m.items():
            if not (limit > 0 and math.isfinite(limit)):
                raise InputError(f"distance_m.{name}: value {limit}; allowed: above 0")


class Tracker(Protocol):
    """A tracker of one's own, as a sweep file names it."""

    def track(self, predictions: BoxTable, frames: TrackFrames) -> TrackTable: ...


def tracks_by(
    predictions: BoxTable, frames: TrackFrames, tracker: TrackerSpec | Tracker
) -> TrackTable:
    """Tracks by ours, or by one's own."""
    if isinstance(tracker, TrackerSpec):
        return track(predictions, frames, tracker)
    return tracker.track(predictions, frames)


def track(predictions: BoxTable, frames: TrackFrames, spec: TrackerSpec) -> TrackTable:
    """Assigns a track to each prediction (global frame; `sample` numbers a frame) of the tracking
    classes, best score first in each frame. Every scene has tracks of its own; an unknown velocity
    counts as zero.
    """
    if len(predictions) and int(predictions.sample.max()) >= len(frames):
        last = int(predictions.sample.max())
        raise InputError(f"predictions: sample {last}; allowed: 0 to {len(frames) - 1}")
    rows = np.flatnonzero(np.isin(predictions.label, TRACKED_LABELS))
    order = np.lexsort((rows, -predictions.score[rows], predictions.sample[rows]))
    boxes = predictions[rows[order]]
    limits = np.zeros(len(DETECTION_CLASSES))
    for name, limit in spec.distance_m.items():
        limits[DETECTION_CLASSES.index(name)] = limit
    starts = np.searchsorted(boxes.sample, np.arange(len(frames) + 1))
    seconds = np.diff(frames.timestamp, prepend=0) * 1e-6
    new_scene = np.diff(frames.scene, prepend=NONE) != 0
    numbers = _numbers(
        boxes.center[:, :2], np.nan_to_num(boxes.velocity, nan=0.0), boxes.label, starts, seconds,
        new_scene, limits, spec.max_age,
    )  # fmt: skip
    return TrackTable(boxes=boxes, track=numbers)


@njit(cache=True, nogil=True)
def _numbers(
    center: Floats, velocity: Floats, label: Ints, starts: Ints, seconds: Floats,
    new_scene: Flags, limits: Floats, max_age: int,
) -> Ints:  # fmt: skip
    """Track of each box. Live tracks are arrays of their number, age, label, place and velocity."""
    number = np.full(len(center), NONE, np.int64)
    live = np.zeros(0, np.int64)  # box that each live track was last seen in
    place, age = np.zeros((0, 2)), np.zeros(0, np.int64)
    begun = 0
    for frame in range(len(seconds)):
        if new_scene[frame]:
            live, place, age = live[:0], place[:0], age[:0]
        rows = np.arange(starts[frame], starts[frame + 1])
        free = np.ones(len(live), np.bool_)
        for row in rows:
            back = center[row] - velocity[row] * seconds[frame]
            at = _nearest(back, place, label[live] == label[row], free, limits[label[row]])
            if at == NONE:
                number[row] = begun
                begun += 1
            else:
                number[row] = number[live[at]]
                free[at] = False
        stay = free & (age < max_age)
        moved = place[stay] + velocity[live[stay]] * seconds[frame]
        age = np.concatenate((age[stay] + 1, np.zeros(len(rows), np.int64)))
        live = np.concatenate((live[stay], rows))
        place = np.concatenate((moved, center[rows]))
    return number


@njit(cache=True, nogil=True)
def _nearest(point: Floats, place: Floats, same: Flags, free: Flags, limit: float) -> int:
    """The nearest of the places that are free and of the same class, within the limit."""
    best, least = NONE, limit
    for at in range(len(place)):
        if not (free[at] and same[at]):
            continue
        x, y = point[0] - place[at, 0], point[1] - place[at, 1]
        distance = math.sqrt(x * x + y * y)
        if distance < least:
            best, least = at, distance
    return best
