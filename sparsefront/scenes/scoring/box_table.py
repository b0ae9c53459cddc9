"""Boxes of many samples as arrays: what the detection score reads, without an object a box."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
NO_ATTRIBUTE, UNKNOWN_POINTS = -1, -1


@dataclass(frozen=True, kw_only=True)
class BoxTable:
    """N boxes in the global frame, rows of a sample together and in the order of their file.

    sample      [N] number of the sample
    label       [N] index into DETECTION_CLASSES
    center      [N, 3] m
    size        [N, 3] width, length, height in m
    rotation    [N, 4] quaternion w, x, y, z
    velocity    [N, 2] m/s; NaN where unknown
    attribute   [N] index into ATTRIBUTES, -1 where there is none
    score       [N] 0..1; anything for ground truth
    num_points  [N] LiDAR and radar points inside; -1 where not counted
    """

    sample: Ints
    label: Ints
    center: Floats
    size: Floats
    rotation: Floats
    velocity: Floats
    attribute: Ints
    score: Floats
    num_points: Ints

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, rows: NDArray[np.bool_] | Ints) -> BoxTable:
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)  # take is faster than a mask
        taken = {f.name: np.take(getattr(self, f.name), rows, axis=0) for f in fields(self)}
        return replace(self, **taken)

    @staticmethod
    def joined(tables: list[BoxTable]) -> BoxTable:
        """Rows of all of them, in order."""
        names = [f.name for f in fields(BoxTable)]
        return BoxTable(**{n: np.concatenate([getattr(t, n) for t in tables]) for n in names})

    @staticmethod
    def empty() -> BoxTable:
        """No rows."""
        return BoxTable(
            sample=np.zeros(0, np.int64), label=np.zeros(0, np.int64), center=np.zeros((0, 3)),
            size=np.zeros((0, 3)), rotation=np.zeros((0, 4)), velocity=np.zeros((0, 2)),
            attribute=np.zeros(0, np.int64), score=np.zeros(0), num_points=np.zeros(0, np.int64),
        )  # fmt: skip
