"""From frames and detections or tracks to the official tracking score: ground truth of the tracking
classes, filtered and kept with the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.detection_table import detection_table
from sparsefront.scenes.scoring.filters import Places, scored_rows
from sparsefront.scenes.scoring.nuscenes_detection import DetectionConfig
from sparsefront.scenes.scoring.nuscenes_frames import ground_truth_table, places_of
from sparsefront.scenes.scoring.nuscenes_tracking import TrackingScores, score
from sparsefront.scenes.scoring.track_table import TRACKED_LABELS, TrackFrames, TrackTable
from sparsefront.scenes.scoring.tracker import Tracker, TrackerSpec, tracks_by

KEY = "ground truth of the tracking score"


@dataclass(frozen=True)
class TrackingTruth:
    """What is read of a split once: frames, places, and the filtered ground truth."""

    frames: TrackFrames
    places: Places
    wanted: TrackTable


def score_tracking(
    scenes: NuScenesScenes, detections: Mapping[str, Detections], tracker: TrackerSpec | Tracker
) -> TrackingScores:
    """Scores of the tracks that the tracker makes of detections by sample token, over exactly the
    frames of `scenes`. InputError where a frame has no entry (an empty Detections is one).
    """
    missing = [t for t in scenes.tokens if t not in detections]
    if missing:
        raise InputError(f"detections: {len(missing)} frames are missing, the first {missing[0]}")
    tracks = tracks_by(detection_table(scenes, detections), tracking_truth(scenes).frames, tracker)
    return score_tracks(scenes, tracks)


def score_tracks(scenes: NuScenesScenes, predictions: TrackTable) -> TrackingScores:
    """Scores of unfiltered tracks; `sample` numbers the tokens of `scenes`. With a choice of the
    frames only those are scored: the frames left out are no holes.
    """
    truth = tracking_truth(scenes)
    return score(truth.wanted, filter_tracks(predictions, truth.places), truth.frames)


def tracking_truth(scenes: NuScenesScenes) -> TrackingTruth:
    """Frames, places and ground truth of the scenes, read on first use."""
    found = scenes.cache.get(KEY)
    if not isinstance(found, TrackingTruth):
        places = places_of(scenes)
        wanted = filter_tracks(ground_truth_tracks(scenes), places)
        found = TrackingTruth(track_frames(scenes), places, wanted)
        scenes.cache[KEY] = found
    return found


def filter_tracks(table: TrackTable, places: Places) -> TrackTable:
    """Keeps the boxes of tracking classes that the official score counts: by the detection score's
    ranges (tracking classes have the same), points and racks.
    """
    table = table[np.isin(table.boxes.label, TRACKED_LABELS)]
    return table[scored_rows(table.boxes, places, DetectionConfig())]


def ground_truth_tracks(scenes: NuScenesScenes) -> TrackTable:
    """Every annotation of a detection class, tracks by instance, unfiltered."""
    store = scenes.store
    rows, _ = scenes.box_rows()
    rows = rows[store.numbers("boxes", "label")[rows] >= 0]
    instances = np.array(
        store.texts("instances", "token", store.numbers("boxes", "instance")[rows]), dtype=str
    )
    tracks = np.unique(instances, return_inverse=True)[1].astype(np.int64)
    return TrackTable(boxes=ground_truth_table(scenes), track=tracks)


def track_frames(scenes: NuScenesScenes) -> TrackFrames:
    """Scene and time of each frame."""
    return TrackFrames(
        scene=scenes.store.numbers("samples", "scene")[scenes.samples].astype(np.int64),
        timestamp=scenes.store.numbers("samples", "timestamp")[scenes.samples],
    )
