"""Parses tracking results files in the official format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.box_table import BoxTable
from sparsefront.scenes.scoring.results_file import read_samples
from sparsefront.scenes.scoring.submission import parse_boxes, parse_sample, pause_collector
from sparsefront.scenes.scoring.track_table import TRACKING_CLASSES, TrackFrames, TrackTable

CLASS_NUMBERS = {name: DETECTION_CLASSES.index(name) for name in TRACKING_CLASSES}


def read_tracks(path: str | Path, scenes: NuScenesScenes, frames: TrackFrames) -> TrackTable:
    """Reads tracks over exactly the frames of `scenes`. InputError, one line naming file and
    record, for anything that the official tool or its format's text refuses: a track is of one
    class in a scene, and once in a sample.
    """
    with pause_collector():
        reading = _Reading(frames)
        for number, boxes in read_samples(path, scenes.tokens):
            reading.add(str(path), scenes.tokens[number], number, boxes)
    joined = BoxTable.joined(reading.tables) if reading.tables else BoxTable.empty()
    return TrackTable(boxes=joined, track=np.array(reading.tracks, np.int64))


class _Reading:
    """What was read so far: tables and tracks by sample, numbers of names, classes of tracks."""

    def __init__(self, frames: TrackFrames) -> None:
        self.frames = frames
        self.tables: list[BoxTable] = []
        self.tracks: list[int] = []
        self.numbers: dict[str, int] = {}
        self.classes: dict[tuple[int, int], int] = {}

    def add(self, path: str, token: str, number: int, boxes: list[Any]) -> None:
        """Adds a sample's boxes; InputError as in read_tracks."""
        table = parse_sample(path, token, number, boxes, parse_tracks)
        where = f"{path}: sample {token}"
        names = [box["tracking_id"] for box in boxes]
        mine = [self.numbers.setdefault(name, len(self.numbers)) for name in names]
        scene = int(self.frames.scene[number])
        for at, (track, label) in enumerate(zip(mine, table.label.tolist(), strict=True)):
            before = self.classes.setdefault((scene, track), label)
            if before != label:
                was = DETECTION_CLASSES[before]
                raise InputError(
                    f"{where}, box {at}: tracking_name: value {DETECTION_CLASSES[label]!r} in a "
                    f"track of class {was!r}; allowed: one class a track"
                )
        if len(set(mine)) < len(mine):
            at = next(i for i, track in enumerate(mine) if track in mine[:i])
            raise InputError(
                f"{where}, box {at}: tracking_id: value {names[at]!r} is there twice; allowed: "
                "once in a sample"
            )
        self.tables.append(table)
        self.tracks.extend(mine)


def parse_tracks(number: int, boxes: list[Any]) -> BoxTable:
    """Parses one sample's boxes with the tracking task's fields."""
    for box in boxes:
        if not isinstance(box["tracking_id"], str):
            raise InputError(f"tracking_id: value {box['tracking_id']!r}; allowed: text")
    return parse_boxes(number, boxes, "tracking", CLASS_NUMBERS)
