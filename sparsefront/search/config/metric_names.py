"""What a trial measures, known from its spec: by what its model predicts and what its data hold.

Detection on nuScenes-format data  mAP, NDS; with a tracker AMOTA, AMOTP
Detection on KITTI                 AP3D, APBEV, AP2D, AOS: of cars, moderate, 40 recall points, 0..1
Map                                mIoU
Any of them, with trial.latency    latency_ms, latency_ms_dense
"""

from __future__ import annotations

from collections.abc import Iterable

from sparsefront.errors import InputError
from sparsefront.models.fusion_model import Task
from sparsefront.scenes.kitti import KittiSpec
from sparsefront.scenes.scoring.tracker import Tracker, TrackerSpec
from sparsefront.search.config.data import DataSpec

DETECTION = ("mAP", "NDS")
TRACKING = ("AMOTA", "AMOTP")
KITTI = {"AP3D": "3d", "APBEV": "bev", "AP2D": "bbox", "AOS": "aos"}
"""Our names of the benchmark's metrics."""
MAP = ("mIoU",)
COST = (
    "GFLOPs", "GMACs", "GMACs_dense", "parameters", "parameters_dense", "nonzeros", "bytes",
    "bytes_dense", "sparsity",
)  # fmt: skip
"""Metrics of every trial, whatever its task."""
LATENCY = ("latency_ms", "latency_ms_dense")
"""Measured only where asked for, and anew every time."""
BEFORE_TRAINING = (*COST, *LATENCY)
"""Metrics that a pruned model has before it is fine-tuned, and keeps."""
SKIPPED, SKIPPED_TRAINING = "skipped_samples", "skipped_training_samples"
"""Frames that a trial left out, where it may: a metric too, so that a constraint can limit it."""

NEEDS = {
    **dict.fromkeys(DETECTION, "a model that detects boxes and nuScenes-format trial.val"),
    **dict.fromkeys(TRACKING, "trial.tracker"),
    **dict.fromkeys(KITTI, "KITTI frames in trial.val"),
    **dict.fromkeys(MAP, "a model that predicts a map"),
    **dict.fromkeys(LATENCY, "trial.latency"),
    **dict.fromkeys((SKIPPED, SKIPPED_TRAINING), "trial.on_bad_sample: skip"),
}


def measured(task: Task, val: DataSpec, tracker: TrackerSpec | Tracker | None) -> tuple[str, ...]:
    """Names of a trial's metrics. InputError for a combination that makes no sense."""
    kitti = isinstance(val, KittiSpec)
    if task == "map":
        require_maps("val", val)
    if tracker is not None and (task == "map" or kitti):
        what = "boxes on KITTI, frames without time" if kitti else "a map"
        raise InputError(
            f"tracker: the model predicts {what}; allowed: null, or a model that detects boxes on "
            "nuScenes-format data"
        )
    if task == "map":
        return (*MAP, *COST)
    if kitti:
        return (*KITTI, *COST)
    return (*DETECTION, *(TRACKING if tracker is not None else ()), *COST)


def require_maps(name: str, data: DataSpec) -> None:
    """InputError where data, the field `name`, lack the maps that a model for maps needs."""
    if isinstance(data, KittiSpec):
        raise InputError(
            f"{name}: KITTI frames have no map; allowed for a model that predicts a map: "
            "nuScenes-format data (root)"
        )
    if not data.maps:
        raise InputError(f"{name}.maps: value False; allowed for a model that predicts a map: true")


def quality(names: Iterable[str]) -> list[str]:
    """Those metrics that say how good a model is, not how large."""
    others = (*COST, *LATENCY, SKIPPED, SKIPPED_TRAINING)
    return [name for name in names if name not in others]
