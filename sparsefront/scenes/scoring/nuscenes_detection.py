"""The nuScenes detection score (Caesar et al., CVPR 2020, sec. 3.1), vectorised: nuscenes-devkit's
numbers from arrays.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.scoring.box_table import NO_ATTRIBUTE, BoxTable, Floats, Ints
from sparsefront.scenes.scoring.detection_matching import match_detections

ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
RECALLS = np.linspace(0, 1, 101)
WITHOUT = {
    "traffic_cone": ("attr_err", "vel_err", "orient_err"),
    "barrier": ("attr_err", "vel_err"),
}
"""Errors that make no sense for a class."""


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """The official settings (detection_cvpr_2019)."""

    class_range_m: dict[str, float] = field(
        default_factory=lambda: {
            "car": 50, "truck": 50, "bus": 50, "trailer": 50, "construction_vehicle": 50,
            "pedestrian": 40, "motorcycle": 40, "bicycle": 40, "traffic_cone": 30, "barrier": 30,
        }
    )  # fmt: skip
    thresholds_m: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    error_threshold_m: float = 2.0
    min_recall: float = 0.1
    min_precision: float = 0.1
    max_boxes: int = 500
    mean_ap_weight: int = 5


@dataclass(frozen=True, kw_only=True)
class DetectionScores:
    """mAP and NDS in 0..1; per_class average precision over the distance thresholds; tp_errors
    (trans_err m, scale_err 1 - IoU, orient_err rad, vel_err m/s, attr_err 1 - accuracy), also by
    class; label_aps by class and threshold.
    """

    mAP: float
    NDS: float
    per_class: dict[str, float]
    tp_errors: dict[str, float]
    label_aps: dict[str, dict[float, float]] = field(default_factory=dict)
    label_tp_errors: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """At 101 recalls: precision, confidence, and errors by name (none without a match)."""

    precision: Floats
    confidence: Floats
    errors: dict[str, Floats]


def score(
    ground_truth: BoxTable, predictions: BoxTable, config: DetectionConfig | None = None
) -> DetectionScores:
    """Scores of filtered boxes (filters.py). InputError for scores that are negative or NaN."""
    config = config or DetectionConfig()
    if not (predictions.score >= 0).all():
        bad = predictions.score[~(predictions.score >= 0)][0]
        raise InputError(f"detection_score: value {bad}; allowed: 0 and above")
    label_aps: dict[str, dict[float, float]] = {}
    label_errors: dict[str, dict[str, float]] = {}
    names = list(config.class_range_m)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # they let go of the interpreter
        found = pool.map(lambda n: class_curves(ground_truth, predictions, n, config), names)
        by_class = dict(zip(names, found, strict=True))
    for name, curves in by_class.items():
        label_aps[name] = {t: average_precision(c, config) for t, c in curves.items()}
        at = curves[config.error_threshold_m]
        label_errors[name] = {
            e: np.nan if e in WITHOUT.get(name, ()) else mean_error(at, e, config) for e in ERRORS
        }
    per_class = {name: float(np.mean(list(aps.values()))) for name, aps in label_aps.items()}
    mean_ap = float(np.mean(list(per_class.values())))
    errors = {e: float(np.nanmean([v[e] for v in label_errors.values()])) for e in ERRORS}
    gained = sum(max(0.0, 1.0 - error) for error in errors.values())
    total = config.mean_ap_weight * mean_ap + gained
    return DetectionScores(
        mAP=mean_ap, NDS=float(total / (config.mean_ap_weight + len(ERRORS))), per_class=per_class,
        tp_errors=errors, label_aps=label_aps, label_tp_errors=label_errors,
    )  # fmt: skip


def class_curves(
    wanted: BoxTable, found: BoxTable, name: str, config: DetectionConfig
) -> dict[float, Curve]:
    """Curves of one class by threshold; errors at the threshold where they are asked for."""
    number = DETECTION_CLASSES.index(name)
    theirs = np.flatnonzero(wanted.label == number)
    mine = np.flatnonzero(found.label == number)
    nothing = Curve(np.zeros(101), np.zeros(101), {e: np.ones(101) for e in ERRORS})
    if len(theirs) == 0 or len(mine) == 0:
        return dict.fromkeys(config.thresholds_m, nothing)
    mine = mine[best_first(found.score[mine])]
    theirs = theirs[np.argsort(wanted.sample[theirs], kind="stable")]
    samples = int(max(found.sample[mine].max(), wanted.sample[theirs[-1]])) + 1
    begins = np.searchsorted(wanted.sample[theirs], np.arange(samples + 1))
    thresholds, labels = np.array(config.thresholds_m), wanted.center[theirs]
    matches = match_detections(found.center, found.sample, mine, labels, begins, thresholds)
    scores = found.score[mine]
    curves = {}
    for threshold, match in zip(config.thresholds_m, matches, strict=True):
        hit = match >= 0
        if not hit.any():
            curves[threshold] = nothing
            continue
        errors: dict[str, Floats] = {}
        if threshold == config.error_threshold_m:
            errors = match_errors(found[mine[hit]], wanted[theirs[match[hit]]], name)
        curves[threshold] = curve(hit, scores, len(theirs), errors)
    return curves


def best_first(scores: Floats) -> Ints:
    """Places by falling score, of equal scores the later first."""
    order = np.argsort(scores)  # much faster than a stable sort
    ranked = scores[order]
    if (ranked[1:] == ranked[:-1]).any():
        order = np.argsort(scores, kind="stable")
    return order[::-1]


def curve(
    hit: NDArray[np.bool_], scores: Floats, positives: int, errors: dict[str, Floats]
) -> Curve:
    """Precision, confidence and errors at 101 recalls; beyond the reached recall the first two are
    0. Boxes are in the order of their scores; errors are those of the hits.
    """
    hits = np.flatnonzero(hit)
    # np.interp reads of equal recalls only the last, and the hit after it
    at = np.unique(np.concatenate([[0], hits - 1, hits, [len(hit) - 1]]).clip(0))
    right = np.searchsorted(hits, at, "right").astype(float)
    recall = right / float(positives)
    precision = np.interp(RECALLS, recall, right / (at + 1.0), right=0)
    confidence = np.interp(RECALLS, recall, scores[at], right=0)
    sure = scores[hit][::-1]
    at_recalls = {
        key: np.interp(confidence[::-1], sure, running_mean(value)[::-1])[::-1]
        for key, value in errors.items()
    }
    return Curve(precision, confidence, at_recalls)


def match_errors(found: BoxTable, wanted: BoxTable, name: str) -> dict[str, Floats]:
    """Errors of matched boxes, row by row: m, 1 - IoU of aligned sizes, rad, m/s, 1 - accuracy."""
    common = np.minimum(wanted.size, found.size).prod(1)
    union = wanted.size.prod(1) + found.size.prod(1) - common
    period = np.pi if name == "barrier" else 2 * np.pi
    apart = (yaw_of(wanted.rotation) - yaw_of(found.rotation) + period / 2) % period - period / 2
    apart = np.where(apart > np.pi, apart - 2 * np.pi, apart)
    wrong = 1.0 - (wanted.attribute == found.attribute)
    return {
        "trans_err": _norm(found.center[:, :2] - wanted.center[:, :2]),
        "scale_err": 1 - common / union,
        "orient_err": np.abs(apart),
        "vel_err": _norm(found.velocity - wanted.velocity),
        "attr_err": np.where(wanted.attribute == NO_ATTRIBUTE, np.nan, wrong),
    }


def yaw_of(rotation: Floats) -> Floats:
    """Heading of the rotated x axis on the ground, rad; 0 for a zero quaternion."""
    size = np.linalg.norm(rotation, axis=1)
    w, x, y, z = (rotation / np.where(size > 0, size, 1)[:, None]).T
    return np.asarray(np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z))


def running_mean(values: Floats) -> Floats:
    """Mean of the values so far that are known; 0 before the first, 1 where none is."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    total, count = np.nancumsum(values), np.cumsum(known)
    return np.divide(total, count, out=np.zeros_like(total), where=count != 0)


def average_precision(curve: Curve, config: DetectionConfig) -> float:
    """Mean precision above the least, over recalls above the least, as a share."""
    above = curve.precision[round(100 * config.min_recall) + 1 :] - config.min_precision
    return float(np.mean(np.maximum(above, 0))) / (1.0 - config.min_precision)


def mean_error(curve: Curve, name: str, config: DetectionConfig) -> float:
    """Mean over recalls from the least to the reached one; 1 where that is not reached."""
    first = round(100 * config.min_recall) + 1
    reached = np.flatnonzero(curve.confidence)
    last = int(reached[-1]) if len(reached) else 0
    return 1.0 if last < first else float(np.mean(curve.errors[name][first : last + 1]))


def _norm(vectors: Floats) -> NDArray[np.float64]:
    return np.sqrt(vectors[:, 0] * vectors[:, 0] + vectors[:, 1] * vectors[:, 1])
