"""KITTI's object benchmark (Geiger et al., CVPR 2012): average precision in 3-D, from above and in
the image, and orientation, at 11 and 40 recall points, by the rules of the official program.

Per class and difficulty an object counts, is ignored (its detection neither helps nor hurts), or is
absent. Shape legend: N objects and K detections of a frame, T score thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
METRICS = ("3d", "bev", "bbox", "aos")
LEAST = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting", "cyclist": ""}
MIN_PIXELS, MAX_OCCLUSION, MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.30, 0.50)
POINTS = 41
COUNTS, IGNORED, ABSENT = 0, 1, -1
FEW = 100
"""Below so many objects the benchmark's AP says little: it has at most as many points."""


@dataclass(frozen=True, kw_only=True)
class KittiObjects:
    """A frame's objects or detections, camera frame (x right, y down, z ahead).

    kind [N] lower case; truncated 0..1, occluded 0..3 [N]; alpha, turn around y [N] rad; pixels
    [N, 4] left, top, right, bottom; size [N, 3] height, width, length and bottom [N, 3] in m;
    score [N]
    """

    kind: NDArray[np.str_]
    truncated: Floats
    occluded: Floats
    alpha: Floats
    pixels: Floats
    size: Floats
    bottom: Floats
    turn: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.kind)


def read_objects(path: str | Path, scored: bool) -> KittiObjects:
    """A label file (15 columns), or a detection file (16, the score last). ValueError naming file
    and line for anything else.
    """
    columns = 16 if scored else 15
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != columns:
            raise ValueError(f"{path}: line {number}: {len(words)} columns; allowed: {columns}")
        try:
            values = [float(w) for w in words[1:]]
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
        if not all(math.isfinite(v) for v in values):
            raise ValueError(f"{path}: line {number}: a number is not finite")
        rows.append((words[0].lower(), *values))
    table = np.array([r[1:] for r in rows], dtype=np.float64).reshape(-1, columns - 1)
    return KittiObjects(
        kind=np.array([r[0] for r in rows], dtype=np.str_), truncated=table[:, 0],
        occluded=table[:, 1], alpha=table[:, 2], pixels=table[:, 3:7], size=table[:, 7:10],
        bottom=table[:, 10:13], turn=table[:, 13],
        score=table[:, 14] if scored else np.zeros(len(table)),
    )  # fmt: skip


def score(
    ground_truth: Sequence[KittiObjects], detections: Sequence[KittiObjects]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """metric -> class -> "R40" and "R11" -> easy, moderate, hard in percent; frames in order."""
    if len(ground_truth) != len(detections):
        raise ValueError(
            f"detections: {len(detections)} frames; allowed: {len(ground_truth)}, one each"
        )
    found: dict[str, dict[str, dict[str, list[float]]]] = {m: {} for m in METRICS}
    for metric, overlap in (("bbox", in_image), ("bev", from_above), ("3d", in_space)):
        shared = [overlap(d, g) for d, g in zip(detections, ground_truth, strict=True)]
        for kind in LEAST:
            curves = [
                precision_curve(ground_truth, detections, shared, kind, level, metric == "bbox")
                for level in range(3)
            ]
            found[metric][kind] = average([precision for precision, _ in curves])
            if metric == "bbox":
                found["aos"][kind] = average([similarity for _, similarity in curves])
    return found


def average(curves: list[Floats]) -> dict[str, list[float]]:
    """Percent at 40 points (without recall 0) and at 11."""
    return {
        "R40": [float(100 * c[1:].sum() / 40) for c in curves],
        "R11": [float(100 * c[::4].sum() / 11) for c in curves],
    }


def precision_curve(
    ground_truth: Sequence[KittiObjects], detections: Sequence[KittiObjects],
    overlaps: list[Floats], kind: str, level: int, in_pixels: bool,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Precision and orientation similarity at 41 recalls, each the best from there on."""
    frames = []
    hits: list[float] = []
    total = 0
    for truth, found, shared in zip(ground_truth, detections, overlaps, strict=True):
        role, rule = roles(truth, kind, level), detection_roles(found, kind, level)
        frames.append((truth, found, shared, role, rule))
        total += int((role == COUNTS).sum())
        hits += matched_scores(found, shared, role, rule, LEAST[kind])
    levels = np.array(thresholds(hits, total))
    counts = np.zeros((3, len(levels)))
    for truth, found, shared, role, rule in frames:
        counts += counted(truth, found, shared, role, rule, levels, LEAST[kind], in_pixels)
    right, wrong, similar = counts
    precision, similarity = np.zeros(POINTS), np.zeros(POINTS)
    n = len(levels)
    if n:
        whole = right + wrong
        precision[:n] = np.divide(right, whole, out=np.zeros(n), where=whole > 0)
        similarity[:n] = np.divide(similar, whole, out=np.zeros(n), where=whole > 0)
        for curve in (precision, similarity):
            curve[:n] = np.maximum.accumulate(curve[:n][::-1])[::-1]
    return precision, similarity


def roles(truth: KittiObjects, kind: str, level: int) -> NDArray[np.int64]:
    """COUNTS, IGNORED (too hard, or of the neighbouring class) or ABSENT of each object."""
    high = truth.pixels[:, 3] - truth.pixels[:, 1]
    hard = (
        (truth.occluded > MAX_OCCLUSION[level])
        | (truth.truncated > MAX_TRUNCATION[level])
        | (high <= MIN_PIXELS[level])
    )
    own = truth.kind == kind
    near = (truth.kind == NEIGHBOUR[kind]) | (own & hard)
    return np.where(own & ~hard, COUNTS, np.where(near, IGNORED, ABSENT))


def detection_roles(found: KittiObjects, kind: str, level: int) -> NDArray[np.int64]:
    """Small ones are ignored, whatever their class; those of other classes absent."""
    small = np.abs(found.pixels[:, 3] - found.pixels[:, 1]) < MIN_PIXELS[level]
    return np.where(small, IGNORED, np.where(found.kind == kind, COUNTS, ABSENT))


def matched_scores(
    found: KittiObjects, shared: Floats, role: NDArray[np.int64], rule: NDArray[np.int64],
    least: float,
) -> list[float]:  # fmt: skip
    """Scores of right detections when each object takes its best-scored one, in file order."""
    free = rule != ABSENT
    hits = []
    for i in np.flatnonzero(role != ABSENT):
        fits = free & (shared[:, i] > least)
        if not fits.any():
            continue
        taken = int(np.where(fits, found.score, -np.inf).argmax())
        free[taken] = False
        if role[i] == COUNTS and rule[taken] == COUNTS:
            hits.append(float(found.score[taken]))
    return hits


def thresholds(scores: list[float], total: int) -> list[float]:
    """Scores at which recall comes nearest to the next of 41 points."""
    ordered = sorted(scores, reverse=True)
    found, recall = [], 0.0
    for i, value in enumerate(ordered):
        here = (i + 1) / total
        last = i == len(ordered) - 1
        following = here if last else (i + 2) / total
        if following - recall < recall - here and not last:
            continue
        found.append(value)
        recall += 1 / (POINTS - 1.0)
    return found


def counted(
    truth: KittiObjects, found: KittiObjects, shared: Floats, role: NDArray[np.int64],
    rule: NDArray[np.int64], levels: Floats, least: float, in_pixels: bool,
) -> Floats:  # fmt: skip
    """At each threshold: right ones, wrong ones, summed similarity of orientation [3, T]. Each
    object takes the free valid detection of largest overlap, else the first ignored one.
    """
    count = len(levels)
    if count == 0 or len(found) == 0:
        return np.zeros((3, count))
    above = found.score >= levels[:, None]  # [T, K]
    free = above & (rule != ABSENT)
    valid = rule == COUNTS
    every = np.arange(count)
    right, similar = np.zeros(count), np.zeros(count)
    for i in np.flatnonzero(role != ABSENT):
        fits = free & (shared[:, i] > least)
        good = fits & valid
        has_good = good.any(1)
        largest = np.where(good, shared[:, i], -1.0).argmax(1)
        taken = np.where(has_good, largest, (fits & ~valid).argmax(1))
        any_taken = fits.any(1)
        free[every[any_taken], taken[any_taken]] = False
        if role[i] == COUNTS:
            right += has_good
            turned = truth.alpha[i] - found.alpha[taken]
            similar += has_good * (1 + np.cos(turned)) / 2
    wrong = (free & valid).sum(1).astype(float)
    if in_pixels:
        wrong -= _in_dont_care(truth, found, free & valid, least)
    return np.stack([right, wrong, similar])


def _in_dont_care(truth: KittiObjects, found: KittiObjects, left: Bools, least: float) -> Floats:
    """How many of the detections left [T, K] lie in a DontCare region by more than `least`."""
    regions = truth.pixels[truth.kind == "dontcare"]
    if len(regions) == 0:
        return np.zeros(len(left))
    area = np.prod(found.pixels[:, 2:] - found.pixels[:, :2], axis=1)
    share = _common(found.pixels, regions) / np.maximum(area, 1e-12)[:, None]
    return np.asarray((left & (share > least).any(1)).sum(1).astype(float))


def in_image(found: KittiObjects, truth: KittiObjects) -> Floats:
    """Intersection over union of image boxes [K, N]"""
    common = _common(found.pixels, truth.pixels)
    areas = [np.prod(b.pixels[:, 2:] - b.pixels[:, :2], axis=1) for b in (found, truth)]
    return _over_union(common, areas[0], areas[1])


def from_above(found: KittiObjects, truth: KittiObjects) -> Floats:
    """The same of rectangles on the ground [K, N]"""
    areas = [b.size[:, 1] * b.size[:, 2] for b in (found, truth)]
    return _over_union(_ground(found, truth), areas[0], areas[1])


def in_space(found: KittiObjects, truth: KittiObjects) -> Floats:
    """The same of boxes [K, N]"""
    low = np.minimum.outer(found.bottom[:, 1], truth.bottom[:, 1])  # y points down
    high = np.maximum.outer(
        found.bottom[:, 1] - found.size[:, 0], truth.bottom[:, 1] - truth.size[:, 0]
    )
    common = _ground(found, truth) * np.maximum(low - high, 0)
    return _over_union(common, found.size.prod(1), truth.size.prod(1))


def _over_union(common: Floats, ours: Floats, theirs: Floats) -> Floats:
    union = np.add.outer(ours, theirs) - common
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def _common(boxes: Floats, others: Floats) -> Floats:
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.maximum(high - low, 0).prod(2))


def _ground(found: KittiObjects, truth: KittiObjects) -> Floats:
    if len(found) == 0 or len(truth) == 0:
        return np.zeros((len(found), len(truth)))
    ours, theirs = _rectangles(found)[:, None], _rectangles(truth)[None]
    return np.asarray(shapely.area(shapely.intersection(ours, theirs)))


def _rectangles(boxes: KittiObjects) -> NDArray[np.object_]:
    """Length along x, width along z, turned around y."""
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    along, across = signs[:, 0] * boxes.size[:, 2:3], signs[:, 1] * boxes.size[:, 1:2]
    cosine, sine = np.cos(boxes.turn)[:, None], np.sin(boxes.turn)[:, None]
    x = boxes.bottom[:, 0:1] + along * cosine + across * sine
    z = boxes.bottom[:, 2:3] - along * sine + across * cosine
    found: NDArray[np.object_] = shapely.polygons(np.stack([x, z], axis=-1))
    return found
