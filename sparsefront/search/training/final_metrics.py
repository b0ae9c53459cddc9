"""What a dense training ends with: the metrics of its task, with all sensors and without each."""

from __future__ import annotations

from collections.abc import Callable

from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.kitti import KittiScenes
from sparsefront.scenes.loader import ImageSpec
from sparsefront.scenes.scoring.kitti_matching import match
from sparsefront.search.config.data import Scenes
from sparsefront.search.evaluation.evaluate import detect, evaluate

Log = Callable[[str], None]
SENSORS = ("camera", "lidar")


def final_metrics(
    model: FusionModel, scenes: Scenes, image: ImageSpec, device: str, log: Log
) -> dict[str, float]:
    """Each metric by name, and of a model with camera and LiDAR also NAME_without_camera and
    NAME_without_lidar; on KITTI recall and precision of cars beside them.
    """
    parts = {name.partition(".")[0] for name, _ in model.named_parameters()}
    hidden = [frozenset[str]()]
    if set(SENSORS) <= parts:
        hidden += [frozenset({sensor}) for sensor in SENSORS]
    metrics: dict[str, float] = {}
    for masked in hidden:
        label = "".join(f"_without_{sensor}" for sensor in masked)
        found = evaluate(model, scenes, image, masked=masked, device=device)
        metrics |= {f"{name}{label}": value for name, value in found.metrics.items()}
        log(f"held out{label.replace('_', ' ')}: {_shown(found.metrics, 4)}")
        if not masked:
            log(f"by class: {_shown(found.per_class, 3)}")
    if isinstance(scenes, KittiScenes):
        metrics |= matching(model, scenes, image, device, log)
    return metrics


def matching(
    model: FusionModel, scenes: KittiScenes, image: ImageSpec, device: str, log: Log
) -> dict[str, float]:
    """Recall and precision of cars at a 3-D overlap of 0.7."""
    found = match(
        {token: scenes.labels(token) for token in scenes.tokens},
        detect(model, scenes, image, device=device),
    )
    names = ("recall_easy", "recall_moderate", "recall_hard")
    metrics = dict(zip(names, found.recall, strict=True)) | {"precision": found.precision}
    log(
        f"cars at overlap 0.7: {_shown(metrics, 3)}  ({found.labels} labels, "
        f"{found.detections} detections)"
    )
    return metrics


def _shown(metrics: dict[str, float], places: int) -> str:
    return "  ".join(f"{name} {value:.{places}f}" for name, value in metrics.items())
