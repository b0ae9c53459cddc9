"""What dense training reports of KITTI frames: cars found, and their official AP."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scenes.batch import Detections
from scenes.kitti import KittiScenes
from scenes.scoring.kitti_frames import score_kitti
from scenes.scoring.kitti_matching import match


def of_cars(
    scenes: KittiScenes, detections: Mapping[str, Detections], log: Callable[[str], None]
) -> dict[str, float]:
    """Recall and precision at a 3-D overlap of 0.7; AP at 40 points of the moderate ones in
    percent.
    """
    found = match({token: scenes.labels(token) for token in scenes.tokens}, detections)
    names = ("recall_easy", "recall_moderate", "recall_hard")
    metrics = dict(zip(names, found.recall, strict=True)) | {"precision": found.precision}
    shown = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    log(f"cars at overlap 0.7: {shown}  ({found.labels} labels, {found.detections} detections)")
    scores = score_kitti(scenes, detections)
    for metric in ("3d", "bev", "bbox"):
        easy, moderate, hard = scores.percent[metric]["car"]["R40"]
        metrics[f"car_{metric}_moderate"] = moderate
        log(f"cars, AP {metric} R40: easy {easy:.2f}  moderate {moderate:.2f}  hard {hard:.2f}")
    return metrics
