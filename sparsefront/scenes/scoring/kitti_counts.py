"""Matching of KITTI's detections with its objects, compiled: both passes of the official program.

Shape legend: F frames, K detections and N objects of all frames, P pairs as in kitti_overlap.py, T
score thresholds. Roles [N] of objects and rules [K] of detections: COUNTS, IGNORED or ABSENT.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsefront.scenes.scoring.box_table import Floats, Ints

COUNTS, IGNORED, ABSENT = 0, 1, -1
LOWEST = -1e7
"""A detection scored no higher is never taken in the first pass."""


@njit(cache=True)
def true_positive_scores(
    score: Floats, shared: Floats, role: Ints, rule: Ints, found_ends: Ints, truth_ends: Ints,
    least: float,
) -> Floats:  # fmt: skip
    """First pass: each object in file order takes the free detection of the highest score that
    overlaps by more than `least` (the first of equals). Scores of the right ones, in that order.
    """
    right = np.empty(len(role))
    count, pair = 0, 0
    taken = np.zeros(len(score), np.bool_)
    for f in range(len(found_ends) - 1):
        first, last = found_ends[f], found_ends[f + 1]
        low, high = truth_ends[f], truth_ends[f + 1]
        for i in range(low, high):
            if role[i] == ABSENT:
                continue
            chosen, best = -1, LOWEST
            for j in range(first, last):
                if rule[j] == ABSENT or taken[j] or not score[j] > best:
                    continue
                if shared[pair + (j - first) * (high - low) + i - low] > least:
                    chosen, best = j, score[j]
            if chosen < 0:
                continue
            taken[chosen] = True
            if role[i] == COUNTS and rule[chosen] == COUNTS:
                right[count] = best
                count += 1
        pair += (last - first) * (high - low)
    return right[:count]


@njit(cache=True)
def count_detections(
    score: Floats, shared: Floats, role: Ints, rule: Ints, found_ends: Ints, truth_ends: Ints,
    least: float, levels: Floats, excused: NDArray[np.bool_], truth_alpha: Floats,
    found_alpha: Floats,
) -> Floats:  # fmt: skip
    """Second pass, at each threshold: right ones, wrong ones, summed similarity of orientation
    [T, 3]. excused [K]: those in a DontCare region, not wrong when they are left over.
    """
    counts = np.zeros((len(levels), 3))
    taken = np.zeros(len(score), np.bool_)
    pair = 0
    for f in range(len(found_ends) - 1):
        first, last = found_ends[f], found_ends[f + 1]
        low, high = truth_ends[f], truth_ends[f + 1]
        for t in range(len(levels)):
            taken[first:last] = False
            for i in range(low, high):
                if role[i] == ABSENT:
                    continue
                chosen = _best(
                    score, shared[pair:], rule, taken, first, last, high - low, i - low, least,
                    levels[t],
                )  # fmt: skip
                if chosen < 0:
                    continue
                taken[chosen] = True
                if role[i] == COUNTS and rule[chosen] == COUNTS:
                    counts[t, 0] += 1
                    counts[t, 2] += (1 + np.cos(truth_alpha[i] - found_alpha[chosen])) / 2
            for j in range(first, last):
                if score[j] >= levels[t] and rule[j] == COUNTS and not (taken[j] or excused[j]):
                    counts[t, 1] += 1
        pair += (last - first) * (high - low)
    return counts


@njit(cache=True)
def _best(
    score: Floats, shared: Floats, rule: Ints, taken: NDArray[np.bool_], first: int, last: int,
    objects: int, own: int, least: float, level: float,
) -> int:  # fmt: skip
    """The free valid detection of largest overlap (the first of equals), else the first ignored
    one, else -1.
    """
    chosen, spare, best = -1, -1, 0.0
    for j in range(first, last):
        if rule[j] == ABSENT or taken[j] or score[j] < level:
            continue
        here = shared[(j - first) * objects + own]
        if not here > least:
            continue
        if rule[j] == COUNTS and here > best:
            chosen, best = j, here
        elif rule[j] == IGNORED and spare < 0:
            spare = j
    return chosen if chosen >= 0 else spare
