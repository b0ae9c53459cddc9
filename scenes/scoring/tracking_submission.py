"""Tracking results files in the official format as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scenes.batch import DETECTION_CLASSES
from scenes.nuscenes import NuScenesScenes
from scenes.scoring.box_table import BoxTable
from scenes.scoring.results_file import results_of
from scenes.scoring.submission import box_table, checked
from scenes.scoring.track_table import TRACKING_CLASSES, TrackFrames, TrackTable

CLASS_NUMBERS = {name: DETECTION_CLASSES.index(name) for name in TRACKING_CLASSES}


def read_tracks(path: str | Path, scenes: NuScenesScenes, frames: TrackFrames) -> TrackTable:
    """Tracks over exactly the frames of `scenes`. ValueError, one line naming file and record, for
    anything that the official tool or its format's text refuses: a track is of one class in a
    scene, and once in a sample.
    """
    tables, tracks = [], []
    names: dict[str, int] = {}
    class_of: dict[tuple[int, int], int] = {}
    for number, boxes in results_of(path, scenes.tokens):
        where = f"{path}: sample {scenes.tokens[number]}"
        table = checked(where, number, boxes, tracked)
        mine = [names.setdefault(box["tracking_id"], len(names)) for box in boxes]
        scene = int(frames.scene[number])
        for at, (track, label) in enumerate(zip(mine, table.label.tolist(), strict=True)):
            before = class_of.setdefault((scene, track), label)
            if before != label:
                was = DETECTION_CLASSES[before]
                raise ValueError(
                    f"{where}, box {at}: tracking_name: value {DETECTION_CLASSES[label]!r} in a "
                    f"track of class {was!r}; allowed: one class a track"
                )
        if len(set(mine)) < len(mine):
            at = next(i for i, track in enumerate(mine) if track in mine[:i])
            raise ValueError(
                f"{where}, box {at}: tracking_id: value {boxes[at]['tracking_id']!r} is there "
                "twice; allowed: once in a sample"
            )
        tables.append(table)
        tracks.extend(mine)
    joined = BoxTable.joined(tables) if tables else BoxTable.empty()
    return TrackTable(boxes=joined, track=np.array(tracks, np.int64))


def tracked(number: int, boxes: list[Any]) -> BoxTable:
    """Boxes of one sample with the tracking task's fields."""
    for box in boxes:
        if not isinstance(box["tracking_id"], str):
            raise ValueError(f"tracking_id: value {box['tracking_id']!r}; allowed: text")
    return box_table(number, boxes, "tracking", CLASS_NUMBERS)
