"""Answers of `scenes score`: official metrics under their official names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from scenes.nuscenes import NuScenesScenes, NuScenesSpec
from scenes.scoring.nuscenes_detection import ERRORS
from scenes.scoring.nuscenes_frames import read_submission, score_table


def of_submission(
    root: str, version: str, split: str, results: Path, scorer: Literal["ours", "devkit"]
) -> dict[str, Any]:
    """mean_ap, nd_score, label_aps, label_tp_errors and tp_errors of a detection results file."""
    scenes = NuScenesScenes(NuScenesSpec(root=root, version=version, split=split))
    boxes = read_submission(results, scenes)
    if scorer == "devkit":
        from scenes.scoring.devkit_detection import devkit_score

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
