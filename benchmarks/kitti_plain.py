"""KITTI's object benchmark once more, slowly: loops over objects and detections as the official
C++ program has them, overlaps by shapely. What the tests and the benchmark hold ours against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely

from sparsefront.scenes.kitti_files import KittiObjects

CLASSES = {"car": (0.7, "van"), "pedestrian": (0.5, "person_sitting"), "cyclist": (0.5, "-")}
NO_DETECTION = -10000000.0
Curves = dict[tuple[str, str], tuple[list[float], list[float]]]


def official(frames: Sequence[tuple[KittiObjects, KittiObjects]], level: int) -> Curves:
    """(metric, class) -> precision and similarity at 41 recalls; frames of truth and detections."""
    found: Curves = {}
    for metric in ("bbox", "bev", "3d"):
        shared = [
            [
                [overlap(d, j, t, i, metric, whole=True) for i in range(len(t))]
                for j in range(len(d))
            ]
            for t, d in frames
        ]
        for kind in CLASSES:
            found[metric, kind] = one_class(frames, shared, kind, level, metric)
    return found


def one_class(
    frames: Sequence[tuple[KittiObjects, KittiObjects]], shared: list[list[list[float]]],
    kind: str, level: int, metric: str,
) -> tuple[list[float], list[float]]:  # fmt: skip
    scores: list[float] = []
    total = 0
    clean = [(gt_states(t, kind, level), det_states(d, kind, level)) for t, d in frames]
    for (truth, found), over, (own, rule) in zip(frames, shared, clean, strict=True):
        total += own.count(0)
        scores += statistics(truth, found, over, own, rule, kind, metric, None)[3]
    precision, similarity = [0.0] * 41, [0.0] * 41
    levels = recall_steps(scores, total)
    for n, threshold in enumerate(levels):
        right = wrong = 0
        alike = 0.0
        for (truth, found), over, (own, rule) in zip(frames, shared, clean, strict=True):
            tp, fp, s, _ = statistics(truth, found, over, own, rule, kind, metric, threshold)
            right, wrong, alike = right + tp, wrong + fp, alike + s
        precision[n] = right / (right + wrong) if right + wrong else 0.0
        similarity[n] = alike / (right + wrong) if right + wrong else 0.0
    for n in range(len(levels)):
        precision[n], similarity[n] = max(precision[n:]), max(similarity[n:])
    return precision, similarity


def gt_states(truth: KittiObjects, kind: str, level: int) -> list[int]:
    states = []
    for i in range(len(truth)):
        height = truth.pixels[i, 3] - truth.pixels[i, 1]
        ignore = (
            truth.occluded[i] > level
            or truth.truncated[i] > (0.15, 0.3, 0.5)[level]
            or height <= (40, 25, 25)[level]
        )
        if truth.kind[i] == kind:
            states.append(1 if ignore else 0)
        else:
            states.append(1 if truth.kind[i] == CLASSES[kind][1] else -1)
    return states


def det_states(found: KittiObjects, kind: str, level: int) -> list[int]:
    states = []
    for j in range(len(found)):
        height = int(abs(found.pixels[j, 1] - found.pixels[j, 3]))
        valid = 0 if found.kind[j] == kind else -1
        states.append(1 if height < (40, 25, 25)[level] else valid)
    return states


def statistics(
    truth: KittiObjects, found: KittiObjects, shared: list[list[float]], own: list[int],
    rule: list[int], kind: str, metric: str, threshold: float | None,
) -> tuple[int, int, float, list[float]]:  # fmt: skip
    """Right, wrong, summed similarity and scores of the right; without threshold: first pass."""
    least = CLASSES[kind][0]
    assigned = [False] * len(found)
    low = [threshold is not None and s < threshold for s in found.score]
    right = wrong = 0
    alike, scores = 0.0, []
    for i in range(len(truth)):
        if own[i] == -1:
            continue
        chosen, valid, most, by_ignored = -1, NO_DETECTION, 0.0, False
        for j in range(len(found)):
            if rule[j] == -1 or assigned[j] or low[j]:
                continue
            over = shared[j][i]
            if threshold is None:
                if over > least and found.score[j] > valid:
                    chosen, valid = j, found.score[j]
            elif over > least and (over > most or by_ignored) and rule[j] == 0:
                chosen, valid, most, by_ignored = j, 1.0, over, False
            elif over > least and valid == NO_DETECTION and rule[j] == 1:
                chosen, valid, by_ignored = j, 1.0, True
        if valid == NO_DETECTION:
            continue
        assigned[chosen] = True
        if own[i] == 0 and rule[chosen] == 0:
            right += 1
            scores.append(float(found.score[chosen]))
            alike += (1 + math.cos(truth.alpha[i] - found.alpha[chosen])) / 2
    if threshold is None:
        return right, 0, alike, scores
    wrong = sum(not (assigned[j] or rule[j] != 0 or low[j]) for j in range(len(found)))
    for i in np.flatnonzero(truth.kind == "dontcare"):
        for j in range(len(found)):
            if assigned[j] or rule[j] != 0 or low[j]:
                continue
            if overlap(found, j, truth, int(i), metric, whole=False) > least:
                assigned[j] = True
                wrong -= 1
    return right, wrong, alike, scores


def recall_steps(scores: list[float], total: int) -> list[float]:
    steps, current = [], 0.0
    scores = sorted(scores, reverse=True)
    for i, value in enumerate(scores):
        left = (i + 1) / total
        right = (i + 2) / total if i < len(scores) - 1 else left
        if right - current < current - left and i < len(scores) - 1:
            continue
        steps.append(value)
        current += 1.0 / 40.0
    return steps


def overlap(
    found: KittiObjects, j: int, truth: KittiObjects, i: int, metric: str, whole: bool
) -> float:
    """Over the union, or over the detection (whole = False)."""
    if metric == "bbox":
        a, b = found.pixels[j], truth.pixels[i]
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        if w <= 0 or h <= 0:
            return 0.0
        ours, theirs = ((p[2] - p[0]) * (p[3] - p[1]) for p in (a, b))
        return float(w * h / (ours + theirs - w * h if whole else ours))
    common = polygon(found, j).intersection(polygon(truth, i)).area
    if metric == "bev":
        ours, theirs = polygon(found, j).area, polygon(truth, i).area
    else:
        a, b = found, truth
        low = min(a.bottom[j, 1], b.bottom[i, 1])
        high = max(a.bottom[j, 1] - a.size[j, 0], b.bottom[i, 1] - b.size[i, 0])
        common *= max(0.0, low - high)
        ours, theirs = a.size[j].prod(), b.size[i].prod()
    below = ours + theirs - common if whole else ours
    return float(common / below) if common > 0 else 0.0


def polygon(boxes: KittiObjects, row: int) -> shapely.Polygon:
    """Length along x, width along z, turned around y."""
    _, width, length = boxes.size[row]
    c, s = math.cos(boxes.turn[row]), math.sin(boxes.turn[row])
    x, _, z = boxes.bottom[row]
    ends = ((length, width), (length, -width), (-length, -width), (-length, width))
    return shapely.Polygon(
        [(x + c * u / 2 + s * v / 2, z - s * u / 2 + c * v / 2) for u, v in ends]
    )
