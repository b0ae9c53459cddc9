"""mAP and NDS by nuscenes-devkit: a results file, then DetectionEval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval

from benchmarks.by_hand.task import Opened, Task
from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.loader import Loader
from sparsefront.scenes.scoring.detection_table import MOVING, MOVING_M_PER_S, STILL

USED = {"camera": True, "lidar": True, "radar": False, "map": False, "external": False}
NO_BOX = {"mAP": 0.0, "NDS": 0.0}
"""The scores where the model finds nothing in any frame; the devkit needs a box to start from."""


def write_results(model: FusionModel, data: Opened, task: Task, path: Path) -> int:
    """The model's boxes of every evaluation frame as a submission; how many there are."""
    loader = Loader(data.val, task.image, None, batch_size=1, shuffle=False, seed=0)
    results = {}
    model.eval()
    with torch.inference_mode():
        for batch in loader:
            token = batch.tokens[0]
            found = model.predict(batch)[0]
            assert isinstance(found, Detections)
            results[token] = frame_results(token, found, batch.lidar_to_global[0].numpy())
    meta = {f"use_{sensor}": used for sensor, used in USED.items()}
    path.write_text(json.dumps({"meta": meta, "results": results}))
    return sum(map(len, results.values()))


def frame_results(token: str, found: Detections, pose: np.ndarray) -> list[dict[str, Any]]:
    """Boxes of a frame in the global frame, by its pose [4, 4]."""
    boxes = found.boxes.double().numpy()
    turn, shift = pose[:3, :3], pose[:3, 3]
    center = boxes[:, :3] @ turn.T + shift
    flat = np.zeros(len(boxes))
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), flat], axis=1) @ turn.T
    half = np.arctan2(heading[:, 1], heading[:, 0]) / 2
    rotation = np.stack([np.cos(half), flat, flat, np.sin(half)], axis=1)
    velocity = np.column_stack([boxes[:, 7:9], flat]) @ turn.T
    moving = np.hypot(velocity[:, 0], velocity[:, 1]) > MOVING_M_PER_S
    names = [DETECTION_CLASSES[label] for label in found.labels.tolist()]
    return [
        {
            "sample_token": token,
            "translation": center[row].tolist(),
            "size": boxes[row, [4, 3, 5]].tolist(),
            "rotation": rotation[row].tolist(),
            "velocity": velocity[row, :2].tolist(),
            "detection_name": name,
            "detection_score": float(found.scores[row]),
            "attribute_name": (MOVING if moving[row] else STILL).get(name, ""),
        }
        for row, name in enumerate(names)
    ]


def devkit_score(results: Path, data: Opened, task: Task) -> dict[str, float]:
    """mAP and NDS of a results file that has a box."""
    evaluation = DetectionEval(
        data.nusc, config_factory("detection_cvpr_2019"), str(results), task.val.split,
        str(results.parent / "devkit"), verbose=False,
    )  # fmt: skip
    metrics = evaluation.evaluate()[0]
    return {"mAP": float(metrics.mean_ap), "NDS": float(metrics.nd_score)}
