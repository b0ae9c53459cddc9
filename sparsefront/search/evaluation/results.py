"""Predictions in the official formats, written only when asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.kitti import KittiScenes
from sparsefront.scenes.scoring.detection_table import detection_table
from sparsefront.scenes.scoring.kitti_frames import write_kitti_results
from sparsefront.scenes.scoring.submission_writer import SENSORS, write_detections, write_tracks
from sparsefront.scenes.scoring.tracker import Tracker, TrackerSpec, tracks_by
from sparsefront.scenes.scoring.tracking_frames import track_frames
from sparsefront.search.config.data import Scenes


def write_results(
    path: Path,
    scenes: Scenes,
    detections: Mapping[str, Detections],
    used: frozenset[str],
    tracker: TrackerSpec | Tracker | None = None,
) -> None:
    """nuScenes: a detection submission, or with a tracker a tracking submission (one file). KITTI:
    a new folder with a file a frame. `used` as in submission_writer.
    """
    if isinstance(scenes, KittiScenes):
        write_kitti_results(scenes, detections, path)
        return
    boxes = detection_table(scenes, detections)
    if tracker is None:
        write_detections(path, scenes, boxes, used)
    else:
        write_tracks(path, scenes, tracks_by(boxes, track_frames(scenes), tracker), used)


def used_by(model: FusionModel) -> frozenset[str]:
    """Sensors that a model reads: a modality each."""
    parts = {name.partition(".")[0] for name, _ in model.named_parameters()}
    return frozenset(parts & set(SENSORS))
