"""BEV map segmentation as the published BEVFusion scores it: intersection over union of each class
at the best of seven thresholds, counts summed over all samples. Memory does not grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.batch import MAP_CLASSES

THRESHOLDS = np.array([0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65], dtype=np.float32)
SMALL = 1e-7


@dataclass(frozen=True, kw_only=True)
class MapScores:
    """iou [K, 7] by class and threshold; by class the best; mIoU, their mean. All in 0..1."""

    iou: NDArray[np.float64]
    per_class: dict[str, float]
    mIoU: float


def score(ground_truth: NDArray[np.bool_], predictions: NDArray[np.float32]) -> MapScores:
    """Scores of probabilities [S, K, X, Y] against cells of the same shape. For samples that do not
    fit into memory together use MapScoreCounter.
    """
    counts = MapScoreCounter(predictions.shape[-3])
    counts.add(predictions, ground_truth)
    return counts.result()


class MapScoreCounter:
    """Counts cells for the score; samples are added one by one or in batches, in any order."""

    def __init__(self, classes: int = len(MAP_CLASSES)) -> None:
        bins = len(THRESHOLDS) + 1
        self.positive = np.zeros((classes, bins), dtype=np.int64)
        self.negative = np.zeros((classes, bins), dtype=np.int64)

    def add(self, probabilities: NDArray[Any], wanted: NDArray[Any]) -> None:
        """[..., K, X, Y] each. InputError for other shapes, a probability that is not in 0..1, or a
        label that is neither 0 nor 1.
        """
        if probabilities.shape != wanted.shape or probabilities.ndim < 3:
            raise InputError(
                f"map: predictions {probabilities.shape} and labels {wanted.shape}; allowed: one "
                "shape [..., classes, x, y]"
            )
        for kind in (probabilities.dtype, wanted.dtype):
            if kind.kind not in "fiub":
                raise InputError(f"map: an array of {kind}; allowed: numbers")
        p = np.ascontiguousarray(probabilities, dtype=np.float32)
        if p.size and not (p.min() >= 0 and p.max() <= 1):
            bad = p[~((p >= 0) & (p <= 1))][0]
            raise InputError(f"map: a probability is {bad}; allowed: 0..1")
        if wanted.dtype != np.bool_ and len(other := wanted[(wanted != 0) & (wanted != 1)]):
            raise InputError(f"map: a label is {other[0]}; allowed: 0, 1")
        classes, cells = len(self.positive), p.shape[-2] * p.shape[-1]
        if p.shape[-3] != classes:
            raise InputError(f"map: {p.shape[-3]} classes; allowed: {classes}")
        truth = np.ascontiguousarray(wanted, dtype=np.bool_).reshape(-1, classes, cells)
        _count(p.reshape(-1, classes, cells), truth, THRESHOLDS, self.positive, self.negative)

    def result(self) -> MapScores:
        """Scores of everything added so far."""
        reached = self.positive[:, ::-1].cumsum(1)[:, ::-1][:, 1:]  # at or above each threshold
        wrong = self.negative[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
        missed = self.positive.sum(1, keepdims=True) - reached
        iou = reached / (reached + wrong + missed + SMALL)
        best = iou.max(1)
        names = MAP_CLASSES if len(best) == len(MAP_CLASSES) else [str(k) for k in range(len(best))]
        per_class = {name: float(value) for name, value in zip(names, best, strict=True)}
        return MapScores(iou=iou, per_class=per_class, mIoU=float(best.mean()))


@njit(cache=True, nogil=True)
def _count(
    probabilities: NDArray[np.float32], wanted: NDArray[np.bool_], thresholds: NDArray[np.float32],
    positive: NDArray[np.int64], negative: NDArray[np.int64],
) -> None:  # fmt: skip
    """Adds cells [S, K, N] to the counts [K, 8] by how many thresholds each reaches."""
    for sample in range(probabilities.shape[0]):
        for kind in range(probabilities.shape[1]):
            for cell in range(probabilities.shape[2]):
                reached = 0
                for threshold in thresholds:
                    reached += probabilities[sample, kind, cell] >= threshold
                if wanted[sample, kind, cell]:
                    positive[kind, reached] += 1
                else:
                    negative[kind, reached] += 1
