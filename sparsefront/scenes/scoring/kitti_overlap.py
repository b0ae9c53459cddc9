"""Overlap of KITTI boxes in the image, from above and in space, compiled, in float64.

A box is a row of 11 numbers: left, top, right, bottom (pixels), height, width, length, x, y, z of
the bottom's middle (m), turn around y (rad). Shape legend: F frames, K detections and N objects of
all frames, P pairs of a detection and an object of one frame.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sparsefront.scenes.kitti_files import KittiObjects
from sparsefront.scenes.scoring.box_table import Floats, Ints

IMAGE, GROUND, SPACE = 0, 1, 2


def box_rows(boxes: KittiObjects) -> Floats:
    """The boxes as rows [N, 11]."""
    return np.ascontiguousarray(
        np.column_stack([boxes.pixels, boxes.size, boxes.bottom, boxes.turn]), dtype=np.float64
    )


def frame_overlaps(found: KittiObjects, truth: KittiObjects, metric: int) -> Floats:
    """Intersection over union [K, N] of one frame; metric IMAGE, GROUND or SPACE."""
    ends = np.array([0, len(found)]), np.array([0, len(truth)])
    shared = overlaps(box_rows(found), box_rows(truth), *ends, metric)
    return shared.reshape(len(found), len(truth))


@njit(cache=True, error_model="numpy")
def overlaps(
    found: Floats, truth: Floats, found_ends: Ints, truth_ends: Ints, metric: int
) -> Floats:
    """Intersection over union [P], frame by frame, all objects of a detection in a row; found
    [K, 11], truth [N, 11], ends [F + 1] of the frames' rows.
    """
    frames = len(found_ends) - 1
    pairs = 0
    for f in range(frames):
        pairs += (found_ends[f + 1] - found_ends[f]) * (truth_ends[f + 1] - truth_ends[f])
    shared = np.zeros(pairs)
    at = 0
    for f in range(frames):
        for j in range(found_ends[f], found_ends[f + 1]):
            for i in range(truth_ends[f], truth_ends[f + 1]):
                common = _common(found[j], truth[i], metric)
                if common > 0:
                    whole = _measure(found[j], metric) + _measure(truth[i], metric)
                    shared[at] = common / (whole - common)
                at += 1
    return shared


@njit(cache=True, error_model="numpy")
def shares_inside(
    found: Floats, regions: Floats, found_ends: Ints, region_ends: Ints, metric: int
) -> Floats:
    """The greatest part of each detection that lies in one of its frame's regions [K]."""
    most = np.zeros(len(found))
    for f in range(len(found_ends) - 1):
        for j in range(found_ends[f], found_ends[f + 1]):
            for i in range(region_ends[f], region_ends[f + 1]):
                common = _common(found[j], regions[i], metric)
                if common > 0:
                    most[j] = max(most[j], common / _measure(found[j], metric))
    return most


@njit(cache=True)
def _measure(box: Floats, metric: int) -> float:
    """Area or volume; three sizes of -1 (no box in space) are a negative volume, as officially."""
    if metric == IMAGE:
        return (box[2] - box[0]) * (box[3] - box[1])
    if metric == GROUND:
        return abs(box[5] * box[6])
    return box[4] * box[5] * box[6]


@njit(cache=True)
def _common(box: Floats, other: Floats, metric: int) -> float:
    if metric == IMAGE:
        wide = min(box[2], other[2]) - max(box[0], other[0])
        high = min(box[3], other[3]) - max(box[1], other[1])
        return wide * high if wide > 0 and high > 0 else 0.0
    if metric == GROUND:
        return _ground(box, other)
    # y points down: from y - height to y
    high = min(box[8], other[8]) - max(box[8] - box[4], other[8] - other[4])
    return _ground(box, other) * high if high > 0 else 0.0


@njit(cache=True)
def _ground(box: Floats, other: Floats) -> float:
    """Common area of two turned rectangles: the other's corners in the frame of the first, cut off
    at its four sides (Sutherland and Hodgman 1974). Exact where both coincide.
    """
    along, across = abs(box[6]) / 2, abs(box[5]) / 2
    other_along, other_across = abs(other[6]) / 2, abs(other[5]) / 2
    dx, dz = other[7] - box[7], other[9] - box[9]
    reach = np.hypot(along, across) + np.hypot(other_along, other_across)
    if dx * dx + dz * dz > reach * reach:
        return 0.0
    c, s = np.cos(box[10]), np.sin(box[10])
    u0, v0 = c * dx - s * dz, s * dx + c * dz
    c, s = np.cos(other[10] - box[10]), np.sin(other[10] - box[10])
    u, v = np.empty(8), np.empty(8)
    for n, (a, b) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        p, q = a * other_along, b * other_across
        u[n], v[n] = u0 + c * p + s * q, v0 - s * p + c * q
    count = 4
    for side in (1.0, -1.0):
        count, u, v = _cut(u, v, count, side, along)
        count, v, u = _cut(v, u, count, side, across)
    area = 0.0
    for n in range(count):
        m = (n + 1) % count
        area += u[n] * v[m] - u[m] * v[n]
    return abs(area) / 2


@njit(cache=True)
def _cut(u: Floats, v: Floats, count: int, side: float, limit: float) -> tuple[int, Floats, Floats]:
    """What of a polygon has side * u <= limit."""
    new_u, new_v = np.empty(8), np.empty(8)
    kept = 0
    for n in range(count):
        m = (n + 1) % count
        here, there = limit - side * u[n], limit - side * u[m]
        if here >= 0:
            new_u[kept], new_v[kept] = u[n], v[n]
            kept += 1
        if (here > 0 and there < 0) or (here < 0 and there > 0):
            share = here / (here - there)
            new_u[kept], new_v[kept] = side * limit, v[n] + share * (v[m] - v[n])
            kept += 1
    return kept, new_u, new_v
