"""Answers of `scenes score`: official metrics under their official names."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.kitti_files import read_objects
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.scoring import kitti_detection
from sparsefront.scenes.scoring.map_segmentation import THRESHOLDS, MapScoreCounter
from sparsefront.scenes.scoring.npz_stream import read_rows
from sparsefront.scenes.scoring.nuscenes_detection import ERRORS
from sparsefront.scenes.scoring.nuscenes_frames import score_table
from sparsefront.scenes.scoring.submission import read_submission
from sparsefront.scenes.scoring.track_table import TRACKING_CLASSES
from sparsefront.scenes.scoring.tracking_frames import score_tracks, tracking_truth
from sparsefront.scenes.scoring.tracking_submission import read_tracks


def score_submission(
    root: str, version: str, split: str, results: Path, scorer: Literal["ours", "devkit"]
) -> dict[str, Any]:
    """mean_ap, nd_score, label_aps, label_tp_errors and tp_errors of a detection results file."""
    scenes = NuScenesScenes(NuScenesSpec(root=root, version=version, split=split))
    boxes = read_submission(results, scenes)
    if scorer == "devkit":
        from sparsefront.scenes.scoring.devkit_detection import devkit_score

        found = devkit_score(scenes, boxes)
    else:
        found = score_table(scenes, boxes)
    aps = {k: {str(t): ap for t, ap in v.items()} for k, v in found.label_aps.items()}
    return {
        "mean_ap": found.mAP, "nd_score": found.NDS, "mean_dist_aps": found.per_class,
        "label_aps": aps, "tp_errors": found.tp_errors, "label_tp_errors": found.label_tp_errors,
    }  # fmt: skip


def table(answer: dict[str, Any]) -> str:
    """The summary as the official tool prints it."""
    short = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE",
             "attr_err": "AAE"}  # fmt: skip
    lines = [f"mAP: {answer['mean_ap']:.4f}"]
    lines += [f"m{short[e]}: {answer['tp_errors'][e]:.4f}" for e in ERRORS]
    lines += [f"NDS: {answer['nd_score']:.4f}", "", "Per-class results:"]
    header = "".join(f"{short[e]:>8}" for e in ERRORS)
    lines.append(f"{'Object Class':<22}{'AP':>8}{header}")
    for name, ap in answer["mean_dist_aps"].items():
        errors = "".join(f"{answer['label_tp_errors'][name][e]:>8.3f}" for e in ERRORS)
        lines.append(f"{name:<22}{ap:>8.3f}{errors}")
    return "\n".join(lines)


def score_tracking_submission(
    root: str, version: str, split: str, results: Path, scorer: Literal["ours", "devkit"]
) -> dict[str, Any]:
    """label_metrics by metric and class of a tracking results file, and each metric over all."""
    scenes = NuScenesScenes(NuScenesSpec(root=root, version=version, split=split))
    frames = tracking_truth(scenes).frames
    tracks = read_tracks(results, scenes, frames)
    if scorer == "devkit":
        from sparsefront.scenes.scoring.devkit_tracking import devkit_tracking_score

        found = devkit_tracking_score(scenes, tracks, frames)
    else:
        found = score_tracks(scenes, tracks)
    return {"label_metrics": found.label_metrics, **found.overall}


def tracking_table(answer: dict[str, Any]) -> str:
    """The summary as the official tool prints it."""
    metrics = answer["label_metrics"]
    lines = ["Per-class results:", f"{'':<12}" + "".join(f"{m.upper():>8}" for m in metrics)]
    for name in TRACKING_CLASSES:
        numbers = "".join(f"{_tracking_number(m, v[name]):>8}" for m, v in metrics.items())
        lines.append(f"{name:<12}{numbers}")
    lines += ["", "Aggregated results:"]
    return "\n".join(
        [*lines, *(f"{m.upper():<8}{_tracking_number(m, answer[m])}" for m in metrics)]
    )


def _tracking_number(metric: str, value: float) -> str:
    """Digits as the official tool prints them: counts and their means are cut off."""
    if np.isnan(value):
        return "nan"
    if metric in ("amota", "amotp", "motar", "recall", "mota", "motp"):
        return f"{value:.3f}"
    places = {"tid": 2, "lgd": 2, "faf": 1}
    return f"{value:.{places[metric]}f}" if metric in places else str(int(value))


def score_kitti_files(labels: Path, detections: Path) -> dict[str, Any]:
    """AP of KITTI detection files (DETECTIONS/*.txt) against label files of the same names. As with
    the official program, frames without a detection file are left out: a frame in which nothing was
    detected has an empty one.
    """
    for name, folder in (("gt", labels), ("det", detections)):
        if not folder.is_dir():
            raise InputError(f"{name}: {folder} is not a folder; allowed: one file a frame")
    names = sorted(p.name for p in detections.glob("*.txt"))
    if not names:
        raise InputError(f"det: {detections} has no *.txt; allowed: one file a frame")
    missing = [n for n in names if not (labels / n).is_file()]
    if missing:
        raise InputError(
            f"det: {detections / missing[0]} has no label {labels / missing[0]}; allowed: frames "
            "that are labelled"
        )
    others = sum(1 for p in labels.glob("*.txt") if p.name not in set(names))
    if others:
        print(
            f"{len(names)} frames scored; {others} labelled ones have no detection file",
            file=sys.stderr,
        )
    truth = [read_objects(labels / n, scored=False) for n in names]
    found = [read_objects(detections / n, scored=True) for n in names]
    kitti_detection.warn_of_few(truth)
    return dict(kitti_detection.score(truth, found))


def kitti_table(answer: dict[str, Any]) -> str:
    """A line a metric and class: easy, moderate, hard at 40 and at 11 points."""
    lines = [f"{'':<18}{'R40':>10}{'':>16}{'R11':>10}"]
    for metric, kinds in answer.items():
        for kind, ap in kinds.items():
            numbers = "".join(f"{v:>9.2f}" for v in (*ap["R40"], *ap["R11"]))
            lines.append(f"{metric:<6}{kind:<12}{numbers}")
        if not kinds:
            lines.append(f"{metric:<6}not evaluated: a detection has no angle (alpha -10)")
    return "\n".join(lines)


def score_map_file(predictions: Path) -> dict[str, Any]:
    """iou by class and threshold, the best of each class, and their mean. FILE.npz holds
    predictions and targets [samples, classes, x, y]; it is read sample by sample.
    """
    counts: MapScoreCounter | None = None
    try:
        pairs = zip(
            read_rows(predictions, "predictions"), read_rows(predictions, "targets"), strict=True
        )
        for probabilities, wanted in pairs:
            counts = counts or MapScoreCounter(probabilities.shape[0])
            counts.add(probabilities, wanted)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{predictions}: {error}; allowed: an .npz with predictions and targets [samples, "
            "classes, x, y]"
        ) from error
    if counts is None:
        raise InputError(f"{predictions}: no sample; allowed: one or more")
    found = counts.result()
    iou = {
        name: {f"{t:.2f}": float(v) for t, v in zip(THRESHOLDS, row, strict=True)}
        for name, row in zip(found.per_class, found.iou, strict=True)
    }
    return {"iou": iou, "iou_max": found.per_class, "miou": found.mIoU}
