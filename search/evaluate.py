"""Official detection metrics of a model on a list of frames, the same bits in every process.

Frames go through one at a time (batch norm in eval mode), in the order of `scenes.tokens`, without
augmentation. With the same thread count as the trial the result is bit-for-bit the same elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from models.fusion_model import FusionModel
from scenes.batch import Detections
from scenes.kitti import KittiScenes
from scenes.loader import ImageSpec, Loader
from scenes.nuscenes import NuScenesScenes
from scenes.scoring.nuscenes_detection import DetectionScores
from scenes.scoring.nuscenes_frames import score_detections

Progress = Callable[[float], None]


def evaluate(
    model: FusionModel,
    scenes: NuScenesScenes,
    image: ImageSpec,
    *,
    masked: frozenset[str] = frozenset(),
    device: str = "cpu",
    progress: Progress | None = None,
) -> DetectionScores:
    """mAP, NDS, per-class AP and true-positive errors, equal to nuscenes-devkit's.

    masked: modalities whose input is zeroed; progress is called with a fraction after each frame.
    """
    return score_detections(
        scenes, detect(model, scenes, image, masked=masked, device=device, progress=progress)
    )


def detect(
    model: FusionModel,
    scenes: NuScenesScenes | KittiScenes,
    image: ImageSpec,
    *,
    masked: frozenset[str] = frozenset(),
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Detections]:
    """Detections of every frame by sample token; the model's training mode is put back after.

    ValueError for a model that predicts no boxes.
    """
    if model.task != "detection":
        raise ValueError(f"model: predicts a {model.task}; allowed: models that detect boxes")
    was_training = model.training
    model.eval()
    detections: dict[str, Detections] = {}
    loader = Loader(scenes, image, None, batch_size=1, shuffle=False, seed=0)
    with torch.inference_mode():
        for index, batch in enumerate(loader):
            found = model.predict(batch.to(device), masked=masked)[0]
            assert isinstance(found, Detections)
            detections[batch.tokens[0]] = _on_cpu(found)
            if progress is not None:
                progress((index + 1) / len(loader))
    model.train(was_training)
    return detections


def _on_cpu(found: Detections) -> Detections:
    return Detections(boxes=found.boxes.cpu(), scores=found.scores.cpu(), labels=found.labels.cpu())
