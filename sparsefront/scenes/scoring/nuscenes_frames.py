"""From frames and predictions to the official detection score: tables in the global frame, the
filtered ground truth kept with the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.geometry import rotation_matrices
from sparsefront.scenes.keyframe import LIDAR
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.box_table import ATTRIBUTES, NO_ATTRIBUTE, BoxTable
from sparsefront.scenes.scoring.detection_table import detection_table
from sparsefront.scenes.scoring.filters import Places, filter_boxes
from sparsefront.scenes.scoring.nuscenes_detection import DetectionConfig, DetectionScores, score

RACK = "static_object.bicycle_rack"
KEY = "ground truth of the detection score"


@dataclass(frozen=True)
class DetectionTruth:
    """What is read of a split once: ego and rack positions, and the filtered ground truth."""

    places: Places
    wanted: BoxTable


def score_detections(
    scenes: NuScenesScenes, detections: Mapping[str, Detections]
) -> DetectionScores:
    """Scores of detections by sample token, over exactly the frames of `scenes`.

    InputError where a frame has no entry (an empty Detections is one).
    """
    missing = [t for t in scenes.tokens if t not in detections]
    if missing:
        raise InputError(f"detections: {len(missing)} frames are missing, the first {missing[0]}")
    return score_table(scenes, detection_table(scenes, detections))


def score_table(scenes: NuScenesScenes, predictions: BoxTable) -> DetectionScores:
    """Scores of unfiltered predictions."""
    config, truth = DetectionConfig(), detection_truth(scenes)
    return score(truth.wanted, filter_boxes(predictions, truth.places, config), config)


def detection_truth(scenes: NuScenesScenes) -> DetectionTruth:
    """Places and filtered ground truth of the scenes, read on first use."""
    found = scenes.cache.get(KEY)
    if not isinstance(found, DetectionTruth):
        places = places_of(scenes)
        wanted = filter_boxes(ground_truth_table(scenes), places, DetectionConfig())
        scenes.cache[KEY] = found = DetectionTruth(places, wanted)
    return found


def ground_truth_table(scenes: NuScenesScenes) -> BoxTable:
    """Every annotation of a detection class, unfiltered. InputError for one of two attributes."""
    store = scenes.store
    if not scenes.labelled:
        raise InputError(f"version: {scenes.spec.version!r} has no annotations to score against")
    rows, frame = scenes.box_rows()
    chosen = store.numbers("boxes", "label")[rows] >= 0
    rows, frame = rows[chosen], frame[chosen]
    several = rows[store.numbers("boxes", "num_attributes")[rows] > 1]
    if len(several):
        token = store.text("boxes", "token", int(several[0]))
        count = store.numbers("boxes", "num_attributes")[several[0]]
        raise InputError(f"sample_annotation {token}: {count} attributes; allowed: one")
    points = store.numbers("boxes", "num_lidar_pts")[rows].astype(np.int64)
    return BoxTable(
        sample=frame, label=store.numbers("boxes", "label")[rows].astype(np.int64),
        center=store.numbers("boxes", "center")[rows], size=store.numbers("boxes", "size")[rows],
        rotation=store.numbers("boxes", "rotation")[rows],
        velocity=store.numbers("boxes", "velocity")[rows, :2],
        attribute=_numbers(store.attributes)[store.numbers("boxes", "attribute")[rows]],
        score=np.full(len(rows), -1.0),
        num_points=points + store.numbers("boxes", "num_radar_pts")[rows],
    )  # fmt: skip


def _numbers(names: tuple[str, ...]) -> np.ndarray:
    """Index into ATTRIBUTES of each name; last, for "none", NO_ATTRIBUTE."""
    return np.array([_attribute(name) for name in (*names, "")], dtype=np.int64)


def places_of(scenes: NuScenesScenes) -> Places:
    """Ego positions and bicycle racks of the frames."""
    store = scenes.store
    lidar = store.numbers("samples", "data")[scenes.samples, store.channels.index(LIDAR)]
    rows, frame = scenes.box_rows()
    kinds = np.flatnonzero(np.array(store.categories) == RACK)
    racks = np.isin(store.numbers("boxes", "category")[rows], kinds)
    rows, frame = rows[racks], frame[racks]
    return Places(
        ego=store.numbers("data", "ego_translation")[lidar, :2], sample=frame,
        center=store.numbers("boxes", "center")[rows], size=store.numbers("boxes", "size")[rows],
        turn=rotation_matrices(store.numbers("boxes", "rotation")[rows]),
    )  # fmt: skip


def _attribute(name: str) -> int:
    if not name:
        return NO_ATTRIBUTE
    if name not in ATTRIBUTES:
        raise InputError(f"attribute_name: value {name!r}; allowed: {', '.join(ATTRIBUTES)}")
    return ATTRIBUTES.index(name)
