"""nuScenes detection scores (mAP, NDS) by nuscenes-devkit's own DetectionEval."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import (
    add_center_dist,
    filter_eval_boxes,
    load_gt_of_sample_tokens,
)
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.evaluate import DetectionEval
from pyquaternion import Quaternion

from scenes.batch import DETECTION_CLASSES, Detections
from scenes.geometry import Array
from scenes.nuscenes import NuScenesScenes

MAX_BOXES = 500
MOVING_M_PER_S = 0.2
STILL_ATTRIBUTE = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "bus": "vehicle.stopped",
    "trailer": "vehicle.parked",
    "motorcycle": "cycle.without_rider",
    "bicycle": "cycle.without_rider",
    "pedestrian": "pedestrian.standing",
}
MOVING_ATTRIBUTE = {
    **dict.fromkeys(("car", "truck", "construction_vehicle", "bus", "trailer"), "vehicle.moving"),
    **dict.fromkeys(("motorcycle", "bicycle"), "cycle.with_rider"),
    "pedestrian": "pedestrian.moving",
}


@dataclass(frozen=True, kw_only=True)
class DetectionScores:
    """mAP and NDS in 0..1; per_class average precision over the distance thresholds; tp_errors
    (trans_err m, scale_err 1 - IoU, orient_err rad, vel_err m/s, attr_err 1 - accuracy)."""

    mAP: float
    NDS: float
    per_class: dict[str, float]
    tp_errors: dict[str, float]


def score(scenes: NuScenesScenes, detections: Mapping[str, Detections]) -> DetectionScores:
    """Scores of detections by sample token, over exactly the frames of `scenes`.

    ValueError where a frame has no entry (an empty Detections is one).
    """
    missing = [t for t in scenes.tokens if t not in detections]
    if missing:
        raise ValueError(f"detections: {len(missing)} frames are missing, the first {missing[0]}")
    metrics, _ = _Evaluation(scenes, detections).evaluate()
    summary = metrics.serialize()
    return DetectionScores(
        mAP=float(summary["mean_ap"]),
        NDS=float(summary["nd_score"]),
        per_class={k: float(v) for k, v in summary["mean_dist_aps"].items()},
        tp_errors={k: float(v) for k, v in summary["tp_errors"].items()},
    )


def to_submission(
    scenes: NuScenesScenes, detections: Mapping[str, Detections]
) -> dict[str, list[dict[str, object]]]:
    """The `results` part of the official submission format, by sample token."""
    return {
        token: [box.serialize() for box in _boxes(token, found, scenes.lidar_to_global(token))]
        for token, found in detections.items()
    }


class _Evaluation(DetectionEval):
    """DetectionEval on a list of frames and boxes in memory: only its loading is replaced."""

    def __init__(self, scenes: NuScenesScenes, detections: Mapping[str, Detections]) -> None:
        self.cfg = config_factory("detection_cvpr_2019")
        self.verbose = False
        self.nusc = scenes.nusc
        found = EvalBoxes()
        for token in scenes.tokens:
            pose = scenes.lidar_to_global(token)
            found.add_boxes(token, _boxes(token, detections[token], pose))
        self.pred_boxes = self._filtered(scenes.nusc, found)
        self.gt_boxes = self._ground_truth(scenes)
        self.sample_tokens = self.gt_boxes.sample_tokens

    def _ground_truth(self, scenes: NuScenesScenes) -> EvalBoxes:
        """Filtered ground truth, kept with the scenes for the next evaluation."""
        kept = scenes.cache.get("filtered ground truth")
        if not isinstance(kept, EvalBoxes):
            with redirect_stderr(io.StringIO()):  # the devkit draws a progress bar
                boxes = load_gt_of_sample_tokens(scenes.nusc, scenes.tokens, DetectionBox)
            kept = self._filtered(scenes.nusc, boxes)
            scenes.cache["filtered ground truth"] = kept
        return kept

    def _filtered(self, nusc: NuScenes, boxes: EvalBoxes) -> EvalBoxes:
        if not boxes.all:  # the devkit takes the kind of box from the first one
            return boxes
        return filter_eval_boxes(nusc, add_center_dist(nusc, boxes), self.cfg.class_range)


def _boxes(token: str, found: Detections, lidar_to_global: Array) -> list[DetectionBox]:
    """The best MAX_BOXES detections of a frame as devkit boxes in the global frame."""
    best = found.scores.argsort(descending=True, stable=True)[:MAX_BOXES]
    boxes = found.boxes[best].double().numpy()
    turn = lidar_to_global[:3, :3]
    centers = boxes[:, :3] @ turn.T + lidar_to_global[:3, 3]
    zero = np.zeros(len(boxes))
    headings = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), zero], axis=1) @ turn.T
    velocities = np.stack([boxes[:, 7], boxes[:, 8], zero], axis=1) @ turn.T
    out = []
    for row, label, confidence in zip(
        range(len(boxes)), found.labels[best].tolist(), found.scores[best].tolist(), strict=True
    ):
        name = DETECTION_CLASSES[label]
        yaw = float(np.arctan2(headings[row, 1], headings[row, 0]))
        length, width, height = boxes[row, 3:6].tolist()
        out.append(
            DetectionBox(
                sample_token=token,
                translation=tuple(centers[row].tolist()),
                size=(width, length, height),
                rotation=tuple(Quaternion(axis=[0, 0, 1], radians=yaw).elements.tolist()),
                velocity=tuple(velocities[row, :2].tolist()),
                detection_name=name,
                detection_score=confidence,
                attribute_name=attribute(name, float(np.hypot(*velocities[row, :2]))),
            )
        )
    return out


def attribute(name: str, speed: float) -> str:
    """The likelier attribute of a class at a speed in m/s; '' for barriers and cones."""
    table = MOVING_ATTRIBUTE if speed > MOVING_M_PER_S else STILL_ATTRIBUTE
    return table.get(name, "")
