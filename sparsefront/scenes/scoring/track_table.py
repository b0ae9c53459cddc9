"""Boxes with track numbers, and the frames that they are on: what the tracking score reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.scoring.box_table import BoxTable, Ints

TRACKING_CLASSES = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
"""The seven nuScenes tracking classes, in the order of the official tables."""
TRACKED_LABELS = tuple(DETECTION_CLASSES.index(name) for name in TRACKING_CLASSES)


@dataclass(frozen=True, kw_only=True)
class TrackTable:
    """N boxes and the track of each.

    boxes  the boxes; labels index DETECTION_CLASSES (rows of other than TRACKING_CLASSES are not
           scored), the score of a box is anything for ground truth
    track  [N] number of the track, one object within a scene
    """

    boxes: BoxTable
    track: Ints

    def __len__(self) -> int:
        return len(self.track)

    def __getitem__(self, rows: NDArray[np.bool_] | Ints) -> TrackTable:
        return TrackTable(boxes=self.boxes[rows], track=self.track[rows])


@dataclass(frozen=True, kw_only=True)
class TrackFrames:
    """Of S samples: number of the scene [S] and timestamp [S] in microseconds. Samples of a scene
    follow each other, in time order; InputError otherwise.
    """

    scene: Ints
    timestamp: Ints

    def __post_init__(self) -> None:
        if self.scene.shape != self.timestamp.shape or self.scene.ndim != 1:
            shapes = f"{self.scene.shape} and {self.timestamp.shape}"
            raise InputError(f"frames: scene and timestamp have shapes {shapes}; allowed: one [S]")
        same = self.scene[1:] == self.scene[:-1]
        late = np.flatnonzero(same & (np.diff(self.timestamp) <= 0))
        if len(late):
            at = int(late[0]) + 1
            raise InputError(
                f"frames: timestamp {self.timestamp[at]} of sample {at} is not after "
                f"{self.timestamp[at - 1]} of the one before; allowed: time order within a scene"
            )
        starts = self.scene[np.flatnonzero(np.concatenate([[True], ~same])[: len(self.scene)])]
        if len(np.unique(starts)) < len(starts):
            raise InputError("frames: samples of a scene are apart; allowed: scene by scene")

    def __len__(self) -> int:
        return len(self.scene)
