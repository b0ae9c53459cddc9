"""KITTI's object benchmark (Geiger et al., CVPR 2012): average precision in 3-D, from above and in
the image, and orientation, at 11 and 40 recall points, by the rules of the official program.

Per class and difficulty an object counts, is ignored (its detection neither helps nor hurts), or is
absent. Shape legend: K detections and N objects of all frames, T score thresholds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.kitti_files import (
    DONT_CARE,
    MAX_OCCLUSION,
    MAX_TRUNCATION,
    MIN_PIXELS,
    NO_ANGLE,
    KittiObjects,
)
from sparsefront.scenes.scoring.box_table import Floats, Ints
from sparsefront.scenes.scoring.kitti_counts import (
    ABSENT,
    COUNTS,
    IGNORED,
    count_detections,
    true_positive_scores,
)
from sparsefront.scenes.scoring.kitti_overlap import (
    GROUND,
    IMAGE,
    SPACE,
    box_rows,
    overlaps,
    shares_inside,
)

KittiAp = dict[str, dict[str, dict[str, list[float]]]]
METRICS = {"3d": SPACE, "bev": GROUND, "bbox": IMAGE}
MIN_OVERLAP = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting", "cyclist": ""}
RECALL_POINTS = 41
NO_PLACE = -1000.0
"""Coordinates of a box that is not known in space, as KITTI writes them."""
FEW = 100
"""Below so many objects the benchmark's AP says little: it has at most as many points."""


@dataclass(frozen=True, kw_only=True)
class ObjectTable:
    """All frames' objects or detections in one: fields as of KittiObjects, their boxes [N, 11],
    ends [F + 1] of the frames' rows.
    """

    kind: NDArray[np.str_]
    truncated: Floats
    occluded: Floats
    alpha: Floats
    score: Floats
    boxes: Floats
    ends: Ints


def score(ground_truth: Sequence[KittiObjects], predictions: Sequence[KittiObjects]) -> KittiAp:
    """metric (3d, bev, bbox, aos) -> class -> "R40" and "R11" -> easy, moderate, hard in percent;
    frames in order. InputError for numbers that are not finite.

    As the official program has it, aos is empty where any detection has no angle (alpha -10). A
    class it leaves out, never detected or only without such boxes, has 0 here; so has a threshold
    at which nothing counts, right or wrong (0 / 0 there).
    """
    if len(ground_truth) != len(predictions):
        raise InputError(
            f"detections: {len(predictions)} frames; allowed: {len(ground_truth)}, one each"
        )
    truth, found = join_frames(ground_truth), join_frames(predictions)
    _require_finite(found)
    regions = join_frames([select_kind(t, DONT_CARE) for t in ground_truth])
    answer: KittiAp = {metric: {} for metric in (*METRICS, "aos")}
    for name, metric in METRICS.items():
        shared = overlaps(found.boxes, truth.boxes, found.ends, truth.ends, metric)
        outside = shares_inside(found.boxes, regions.boxes, found.ends, regions.ends, metric)
        for kind in MIN_OVERLAP:
            curves = [np.zeros((2, RECALL_POINTS))] * 3
            if is_evaluated(found, kind, metric):
                curves = [precision_curve(truth, found, shared, outside, kind, n) for n in range(3)]
            answer[name][kind] = average([c[0] for c in curves])
            if metric == IMAGE and not (found.alpha == NO_ANGLE).any():
                answer["aos"][kind] = average([c[1] for c in curves])
    return answer


def _require_finite(found: ObjectTable) -> None:
    numbers = np.column_stack([found.boxes, found.alpha, found.score])
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        frame = int(np.searchsorted(found.ends, bad[0], "right")) - 1
        row = int(bad[0] - found.ends[frame])
        raise InputError(
            f"detections: frame {frame}, row {row}: a number is not finite; allowed: finite ones"
        )


def warn_of_few(ground_truth: Sequence[KittiObjects]) -> None:
    """Prints to stderr for which classes there are too few objects for AP to mean much."""
    for kind in MIN_OVERLAP:
        count = sum(int((t.kind == kind).sum()) for t in ground_truth)
        if count < FEW:
            print(f"{count} labels of {kind}: below {FEW} AP says little", file=sys.stderr)


def join_frames(frames: Sequence[KittiObjects]) -> ObjectTable:
    def column(name: str) -> Floats:
        return np.concatenate([np.zeros(0), *(getattr(f, name) for f in frames)])

    return ObjectTable(
        kind=np.concatenate([np.zeros(0, np.str_), *(f.kind for f in frames)]),
        truncated=column("truncated"), occluded=column("occluded"), alpha=column("alpha"),
        score=column("score"), boxes=np.concatenate([np.zeros((0, 11)), *map(box_rows, frames)]),
        ends=np.cumsum([0, *map(len, frames)]),
    )  # fmt: skip


def select_kind(boxes: KittiObjects, kind: str) -> KittiObjects:
    chosen = boxes.kind == kind
    return KittiObjects(**{name: value[chosen] for name, value in vars(boxes).items()})


def is_evaluated(found: ObjectTable, kind: str, metric: int) -> bool:
    """Whether the class is detected at least once, with such a box."""
    mine = found.boxes[found.kind == kind]
    if metric == IMAGE:
        return bool((mine[:, 0] >= 0).any())
    sizes, places = ((5, 6), (7, 9)) if metric == GROUND else ((4, 5, 6), (7, 8, 9))
    known = (mine[:, sizes] > 0).all(axis=1) & (mine[:, places] != NO_PLACE).all(axis=1)
    return bool(known.any())


def average(curves: list[Floats]) -> dict[str, list[float]]:
    """Percent at 40 points (without recall 0) and at 11."""
    return {
        "R40": [float(100 * c[1:].sum() / 40) for c in curves],
        "R11": [float(100 * c[::4].sum() / 11) for c in curves],
    }


def precision_curve(
    truth: ObjectTable, found: ObjectTable, shared: Floats, outside: Floats, kind: str, level: int
) -> Floats:
    """Precision and orientation similarity at 41 recalls, each the best from there on [2, 41];
    shared [P] overlaps, outside [K] the part of each detection in a DontCare region.
    """
    role, rule = object_roles(truth, kind, level), detection_roles(found, kind, level)
    least = MIN_OVERLAP[kind]
    ends = found.ends, truth.ends
    hits = true_positive_scores(found.score, shared, role, rule, *ends, least)
    levels = np.array(thresholds(hits.tolist(), int((role == COUNTS).sum())))
    counts = count_detections(
        found.score, shared, role, rule, *ends, least, levels, outside > least, truth.alpha,
        found.alpha,
    )  # fmt: skip
    right, wrong, similar = counts.T
    whole = right + wrong
    curves = np.zeros((2, RECALL_POINTS))
    for row, value in zip(curves, (right, similar), strict=True):
        share = np.divide(value, whole, out=np.zeros(len(levels)), where=whole > 0)
        row[: len(levels)] = np.maximum.accumulate(share[::-1])[::-1]
    return curves


def object_roles(truth: ObjectTable, kind: str, level: int) -> Ints:
    """COUNTS, IGNORED (too hard, or of the neighbouring class) or ABSENT of each object."""
    high = truth.boxes[:, 3] - truth.boxes[:, 1]
    hard = (
        (truth.occluded > MAX_OCCLUSION[level])
        | (truth.truncated > MAX_TRUNCATION[level])
        | (high <= MIN_PIXELS[level])
    )
    own = truth.kind == kind
    near = (truth.kind == NEIGHBOUR[kind]) | (own & hard)
    return np.where(own & ~hard, COUNTS, np.where(near, IGNORED, ABSENT))


def detection_roles(found: ObjectTable, kind: str, level: int) -> Ints:
    """Small ones are ignored, whatever their class; those of other classes absent."""
    small = np.abs(found.boxes[:, 3] - found.boxes[:, 1]) < MIN_PIXELS[level]
    return np.where(small, IGNORED, np.where(found.kind == kind, COUNTS, ABSENT))


def thresholds(scores: list[float], total: int) -> list[float]:
    """Scores at which recall comes nearest to each of 41 points in turn."""
    ordered = sorted(scores, reverse=True)
    found, recall = [], 0.0
    for i, value in enumerate(ordered):
        here = (i + 1) / total
        last = i == len(ordered) - 1
        following = here if last else (i + 2) / total
        if following - recall < recall - here and not last:
            continue
        found.append(value)
        recall += 1 / (RECALL_POINTS - 1.0)
    return found
