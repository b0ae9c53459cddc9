"""Official metrics of a model on a list of frames, the same bits in every process.

Frames go through one at a time (batch norm in eval mode), in the order of `scenes.tokens`, without
augmentation. With the same thread count as the trial the result is bit-for-bit the same elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from sparsefront.errors import InputError
from sparsefront.models.channels_last import channels_last
from sparsefront.models.fusion_model import FramePrediction, FusionModel
from sparsefront.scenes.batch import Detections, MapProbabilities, SensorBatch
from sparsefront.scenes.kitti import KittiScenes
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.kitti_detection import MIN_OVERLAP
from sparsefront.scenes.scoring.kitti_frames import score_kitti
from sparsefront.scenes.scoring.map_segmentation import MapScoreCounter
from sparsefront.scenes.scoring.nuscenes_frames import score_detections
from sparsefront.scenes.scoring.tracker import Tracker, TrackerSpec
from sparsefront.scenes.scoring.tracking_frames import score_tracking
from sparsefront.search.config.data import Scenes
from sparsefront.search.config.metric_names import KITTI, SKIPPED, measured
from sparsefront.search.evaluation.results import used_by, write_results

Progress = Callable[[float], None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    metrics    what objectives and constraints see, named as in config/metric_names.py
    per_class  the same by class: AP.car, AMOTA.bus, IoU.walkway, AP3D.cyclist, ...
    tp_errors  the five true-positive errors of nuScenes; empty for other tasks
    """

    metrics: dict[str, float]
    per_class: dict[str, float]
    tp_errors: dict[str, float] = field(default_factory=dict)


def evaluate(
    model: FusionModel,
    scenes: Scenes,
    image: ImageSpec,
    *,
    tracker: TrackerSpec | Tracker | None = None,
    masked: frozenset[str] = frozenset(),
    device: str = "cpu",
    progress: Progress | None = None,
    workers: int = 0,
    results: Path | None = None,
) -> Evaluation:
    """The metrics of the model's task on these data, with nuScenes equal to nuscenes-devkit's.

    tracker: links detections into tracks, for AMOTA and AMOTP; masked: modalities whose input is
    zeroed; progress is called with a fraction after each frame; workers read ahead. Frames that
    could not be read and may be skipped are not scored. `results` is written only where given: a
    submission file, or a folder of KITTI's (results.py); then data without labels (a
    test split) give no metrics instead of an error. InputError for a model, data and tracker that
    do not go together, or where no frame could be read.
    """
    measured(model.task, scenes.spec, tracker)
    scenes.skipped.clear()
    if model.task == "map":
        if results is not None:
            raise InputError("results: there is no official format for maps; allowed for boxes")
        answer = evaluate_maps(predictions(model, scenes, image, masked, device, progress, workers))
        return _with_skipped(answer, scenes)
    if not scenes.labelled and results is None:
        raise InputError(
            f"split: {scenes.spec.split!r} has no labels to score against; allowed: one with "
            "labels, or --results to write the predictions"
        )
    found = detect(
        model, scenes, image, masked=masked, device=device, progress=progress, workers=workers
    )
    if not found:
        raise InputError(f"val: none of {len(scenes.tokens)} frames could be read")
    read = scenes.without(scenes.skipped) if scenes.skipped else scenes
    if results is not None:
        write_results(results, read, found, used_by(model), tracker)
        if not scenes.labelled:
            return Evaluation(metrics={}, per_class={})
    if isinstance(read, KittiScenes):
        return _with_skipped(_of_kitti(read, found), scenes)
    return _with_skipped(_of_nuscenes(read, found, tracker), scenes)


def detect(
    model: FusionModel,
    scenes: Scenes,
    image: ImageSpec,
    *,
    masked: frozenset[str] = frozenset(),
    device: str = "cpu",
    progress: Progress | None = None,
    workers: int = 0,
) -> dict[str, Detections]:
    """Detections of every frame by sample token; the model's training mode is put back after.

    InputError for a model that predicts no boxes.
    """
    if model.task != "detection":
        raise InputError(f"model: predicts a {model.task}; allowed: models that detect boxes")
    detections: dict[str, Detections] = {}
    for batch, found in predictions(model, scenes, image, masked, device, progress, workers):
        assert isinstance(found, Detections)
        detections[batch.tokens[0]] = _on_cpu(found)
    return detections


def predictions(
    model: FusionModel,
    scenes: Scenes,
    image: ImageSpec,
    masked: frozenset[str],
    device: str,
    progress: Progress | None,
    workers: int = 0,
) -> Iterator[tuple[SensorBatch, FramePrediction]]:
    """Each frame, as a batch of 1 on the CPU, with what the model predicts. Its convolutions keep
    channels innermost from here on (models/channels_last.py).
    """
    was_training = model.training
    model.eval()
    channels_last(model)
    loader = Loader(scenes, image, None, batch_size=1, shuffle=False, seed=0, workers=workers)
    try:
        for index, batch in enumerate(loader):
            with torch.inference_mode():
                found = model.predict(batch.to(device), masked=masked)[0]
            yield batch, found
            if progress is not None:
                progress((index + 1) / len(loader))
    finally:
        model.train(was_training)


def _with_skipped(found: Evaluation, scenes: Scenes) -> Evaluation:
    """How many frames were left out, where some may be."""
    if scenes.on_bad_sample == "raise":
        return found
    return replace(found, metrics={**found.metrics, SKIPPED: float(len(scenes.skipped))})


def _of_nuscenes(
    scenes: NuScenesScenes, found: Mapping[str, Detections], tracker: TrackerSpec | Tracker | None
) -> Evaluation:
    scores = score_detections(scenes, found)
    metrics = {"mAP": scores.mAP, "NDS": scores.NDS}
    per_class = {f"AP.{name}": ap for name, ap in scores.per_class.items()}
    if tracker is not None:
        tracks = score_tracking(scenes, found, tracker)
        metrics |= {"AMOTA": tracks.AMOTA, "AMOTP": tracks.AMOTP}
        for name, value in tracks.label_metrics["amota"].items():
            if not math.isnan(value):  # of a class without labels
                per_class[f"AMOTA.{name}"] = value
    return Evaluation(metrics=metrics, per_class=per_class, tp_errors=dict(scores.tp_errors))


def _of_kitti(scenes: KittiScenes, found: Mapping[str, Detections]) -> Evaluation:
    scores = score_kitti(scenes, found)
    shares = {
        (name, kind): scores.moderate(metric, kind) / 100
        for name, metric in KITTI.items()
        for kind in MIN_OVERLAP
    }
    return Evaluation(
        metrics={name: shares[name, "car"] for name in KITTI},
        per_class={f"{name}.{kind}": share for (name, kind), share in shares.items()},
    )


def evaluate_maps(found: Iterator[tuple[SensorBatch, FramePrediction]]) -> Evaluation:
    """mIoU of maps, counted frame by frame, as maps are large. InputError for a frame without one,
    and for no frame at all.
    """
    counts, frames = MapScoreCounter(), 0
    for batch, prediction in found:
        frames += 1
        assert isinstance(prediction, MapProbabilities)
        wanted = batch.targets[0].maps
        if wanted is None:
            raise InputError(
                f"val: frame {batch.tokens[0]} has no map; allowed for a model that predicts a "
                "map: data read with maps: true"
            )
        counts.add(prediction.probabilities.cpu().numpy(), wanted.numpy())
    if not frames:
        raise InputError("val: none of the frames could be read")
    scores = counts.result()
    per_class = {f"IoU.{name}": iou for name, iou in scores.per_class.items()}
    return Evaluation(metrics={"mIoU": scores.mIoU}, per_class=per_class)


def _on_cpu(found: Detections) -> Detections:
    return Detections(boxes=found.boxes.cpu(), scores=found.scores.cpu(), labels=found.labels.cpu())
