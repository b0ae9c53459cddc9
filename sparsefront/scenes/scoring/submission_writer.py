"""Writes results files in nuScenes' submission formats, for the official server and other tools.
Our own score needs none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparsefront.files.atomic import replacing
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.box_table import ATTRIBUTES, NO_ATTRIBUTE, BoxTable
from sparsefront.scenes.scoring.track_table import TrackTable

SENSORS = ("camera", "lidar", "radar", "map", "external")


def write_detections(
    path: str | Path, scenes: NuScenesScenes, boxes: BoxTable, used: frozenset[str]
) -> None:
    """Writes detections of the frames of `scenes`, numbers in full so that they score the same.

    used  modalities of SENSORS that the model reads
    """
    names = (*ATTRIBUTES, "")
    rows = [
        {
            **_box(scenes, boxes, row),
            "detection_name": DETECTION_CLASSES[boxes.label[row]],
            "detection_score": float(boxes.score[row]),
            "attribute_name": names[boxes.attribute[row]],
        }
        for row in range(len(boxes))
    ]
    assert names[NO_ATTRIBUTE] == ""
    _write(path, scenes, rows, used)


def write_tracks(
    path: str | Path, scenes: NuScenesScenes, tracks: TrackTable, used: frozenset[str]
) -> None:
    """Tracks of the same frames in the tracking task's format."""
    boxes = tracks.boxes
    rows = [
        {
            **_box(scenes, boxes, row),
            "tracking_id": str(tracks.track[row]),
            "tracking_name": DETECTION_CLASSES[boxes.label[row]],
            "tracking_score": float(boxes.score[row]),
        }
        for row in range(len(boxes))
    ]
    _write(path, scenes, rows, used)


def _box(scenes: NuScenesScenes, boxes: BoxTable, row: int) -> dict[str, Any]:
    return {
        "sample_token": scenes.tokens[boxes.sample[row]],
        "translation": boxes.center[row].tolist(),
        "size": boxes.size[row].tolist(),
        "rotation": boxes.rotation[row].tolist(),
        "velocity": boxes.velocity[row].tolist(),
    }


def _write(
    path: str | Path, scenes: NuScenesScenes, rows: list[dict[str, Any]], used: frozenset[str]
) -> None:
    """The file is there whole or not at all."""
    results: dict[str, list[dict[str, Any]]] = {token: [] for token in scenes.tokens}
    for row in rows:
        results[row["sample_token"]].append(row)
    meta = {f"use_{sensor}": sensor in used for sensor in SENSORS}
    with replacing(path) as temporary, temporary.open("w") as file:
        json.dump({"meta": meta, "results": results}, file)
