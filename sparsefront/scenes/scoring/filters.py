"""Filters the boxes that the official detection score counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.scoring.box_table import BoxTable, Floats, Ints
from sparsefront.scenes.scoring.nuscenes_detection import DetectionConfig

IN_RACKS = tuple(DETECTION_CLASSES.index(name) for name in ("bicycle", "motorcycle"))
BORDER_M = 1e-6
"""This near to a rack's border, rounding decides on which side a point lies."""
CORNERS = np.array([[1, -1, 1, 1], [1, 1, -1, 1], [1, 1, 1, -1]])
"""One corner of a box, then its neighbours along x, y and z."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Of S samples: where the ego vehicle is, ego [S, 2] m, and R bicycle racks: sample [R], center
    [R, 3], size [R, 3] (width, length, height), turn [R, 3, 3], in the global frame.
    """

    ego: Floats
    sample: Ints
    center: Floats
    size: Floats
    turn: Floats


def filter_boxes(boxes: BoxTable, places: Places, config: DetectionConfig) -> BoxTable:
    """Keeps boxes nearer to the ego vehicle than their class's range, with points in them where
    these are counted, and bicycles and motorcycles outside racks.
    """
    return boxes[scored_rows(boxes, places, config)]


def scored_rows(boxes: BoxTable, places: Places, config: DetectionConfig) -> NDArray[np.bool_]:
    """Which boxes `filter_boxes` keeps [N]."""
    ranges = np.array([config.class_range_m[name] for name in DETECTION_CLASSES], dtype=float)
    apart = boxes.center[:, :2] - places.ego[boxes.sample]
    near = np.sqrt(apart[:, 0] ** 2 + apart[:, 1] ** 2) < ranges[boxes.label]
    return near & (boxes.num_points != 0) & ~in_rack(boxes, places)


def in_rack(boxes: BoxTable, places: Places) -> NDArray[np.bool_]:
    """Whether the centre of a bicycle or motorcycle is inside a rack of its sample, borders too."""
    inside = np.zeros(len(boxes), dtype=bool)
    rows = np.flatnonzero(np.isin(boxes.label, IN_RACKS))
    for rack, sample in enumerate(places.sample):
        mine = rows[boxes.sample[rows] == sample]
        center, turn = places.center[rack], places.turn[rack]
        half = places.size[rack][[1, 0, 2]] / 2
        over = (np.abs((boxes.center[mine] - center) @ turn) - half).max(1)
        inside[mine[over < -BORDER_M]] = True
        for row in mine[np.abs(over) <= BORDER_M]:
            inside[row] |= _on_border(boxes.center[row], center, half, turn)
    return inside


def _on_border(point: Floats, center: Floats, half: Floats, turn: Floats) -> bool:
    """Whether a point near a rack's border is inside, rounded as by the devkit: measured from a
    corner along the three edges there.
    """
    corners = np.dot(turn, half[:, None] * CORNERS) + center[:, None]
    edges = corners[:, 1:].T - corners[:, 0]
    away = (point - corners[:, 0])[:, None]
    return all(0 <= np.dot(edge, away)[0] <= np.dot(edge, edge) for edge in edges)
