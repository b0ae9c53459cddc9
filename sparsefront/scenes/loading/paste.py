"""Ground-truth paste: labelled objects of other frames set into a frame, points and boxes (SECOND:
Yan et al., Sensors 2018, sec. 3.2.3). Images stay as they are, as in the published BEVFusion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import shapely

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.frame import Frame
from sparsefront.scenes.geometry import Array, box_corners, points_in_boxes, yaw_matrix
from sparsefront.scenes.loading.paste_database import PasteDatabase

PUBLISHED = {  # objects a frame of each class, as in the published BEVFusion
    "car": 2, "truck": 3, "construction_vehicle": 7, "bus": 4, "trailer": 6, "barrier": 2,
    "motorcycle": 6, "bicycle": 6, "pedestrian": 2, "traffic_cone": 2,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PasteSpec:
    """How many objects of each class a frame is filled up to.

    min_points  an object with fewer is not pasted
    epochs      for so many epochs, then no more (published: 15 of 20); None: always
    """

    objects: dict[str, int] = field(default_factory=lambda: dict(PUBLISHED))
    min_points: int = 5
    epochs: int | None = None

    def __post_init__(self) -> None:
        for name, count in self.objects.items():
            if name not in DETECTION_CLASSES:
                known = ", ".join(DETECTION_CLASSES)
                raise InputError(f"objects: class {name!r} is unknown; allowed: {known}")
            if count < 0:
                raise InputError(f"objects.{name}: value {count}; allowed: 0 and above")
        if self.min_points < 1:
            raise InputError(f"min_points: value {self.min_points}; allowed: 1 and above")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs: value {self.epochs}; allowed: 1 and above, or null")


def paste_objects(
    frame: Frame, database: PasteDatabase, spec: PasteSpec, random: np.random.Generator
) -> Frame:
    """Adds drawn objects to the frame where they were seen. One that meets a box of the frame or an
    earlier one is left out; the frame's points inside the others are replaced by theirs.
    """
    drawn = _draw_rows(frame, database, spec, random)
    rows = drawn[_find_free(frame.boxes, database.boxes[drawn])]
    if not len(rows):
        return frame
    boxes, count = database.boxes[rows], len(rows)
    covered = points_in_boxes(frame.points, boxes).any(0)
    own = [database.points_of(int(row)) for row in rows]
    turns = np.stack([yaw_matrix(yaw) for yaw in boxes[:, 6]])
    points = np.diff(database.first)[rows]
    return replace(
        frame,
        points=np.concatenate([*own, frame.points[~covered]]),
        boxes=np.concatenate([frame.boxes, boxes]),
        box_rotations=np.concatenate([frame.box_rotations, turns]),
        labels=np.concatenate([frame.labels, database.labels[rows]]),
        num_lidar_pts=np.concatenate([frame.num_lidar_pts, points]),
        num_radar_pts=np.concatenate([frame.num_radar_pts, np.zeros(count, np.int64)]),
        attributes=(*frame.attributes, *[""] * count),
        tracks=np.concatenate([frame.tracks, np.full(count, -1)]),
    )


def _draw_rows(
    frame: Frame, database: PasteDatabase, spec: PasteSpec, random: np.random.Generator
) -> np.ndarray:
    """Draws rows of the database that would fill the frame up, class by class."""
    rich = np.diff(database.first) >= spec.min_points
    found = [np.zeros(0, np.int64)]
    for name, wanted in spec.objects.items():
        label = DETECTION_CLASSES.index(name)
        lacking = wanted - int((frame.labels == label).sum())
        known = np.flatnonzero((database.labels == label) & rich)
        if lacking > 0 and len(known):
            found.append(random.choice(known, min(lacking, len(known)), replace=False))
    return np.concatenate(found)


def _find_free(boxes: Array, candidates: Array) -> np.ndarray:
    """Which candidates [K, 9] meet, seen from above, neither a box [M, 9] nor an earlier one."""
    there, new = _outlines(boxes), _outlines(candidates)
    free = ~shapely.intersects(new[:, None], there[None]).any(1)
    meets = shapely.intersects(new[:, None], new[None])
    for row in range(len(new)):
        free[row] &= not (meets[row, :row] & free[:row]).any()
    return np.asarray(free)


def _outlines(boxes: Array) -> np.ndarray:
    return np.asarray(shapely.polygons(box_corners(boxes)[:, :4, :2]))
