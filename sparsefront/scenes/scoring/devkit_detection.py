"""nuscenes-devkit's own DetectionEval on boxes in memory: what ours is compared with."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import (
    add_center_dist,
    filter_eval_boxes,
    load_gt_of_sample_tokens,
)
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics
from nuscenes.eval.detection.evaluate import DetectionEval

from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.box_table import ATTRIBUTES, NO_ATTRIBUTE, BoxTable
from sparsefront.scenes.scoring.nuscenes_detection import DetectionScores


def devkit_score(scenes: NuScenesScenes, predictions: BoxTable) -> DetectionScores:
    """The devkit's numbers for unfiltered predictions."""
    metrics: DetectionMetrics = _Evaluation(scenes, predictions).evaluate()[0]
    found = metrics.serialize()
    return DetectionScores(
        mAP=float(found["mean_ap"]), NDS=float(found["nd_score"]),
        per_class={k: float(v) for k, v in found["mean_dist_aps"].items()},
        tp_errors={k: float(v) for k, v in found["tp_errors"].items()},
        label_aps={k: dict(v) for k, v in found["label_aps"].items()},
        label_tp_errors={k: dict(v) for k, v in found["label_tp_errors"].items()},
    )  # fmt: skip


class _Evaluation(DetectionEval):
    """DetectionEval on a list of frames: only its loading is replaced."""

    def __init__(self, scenes: NuScenesScenes, predictions: BoxTable) -> None:
        self.cfg = config_factory("detection_cvpr_2019")
        self.verbose = False
        self.nusc = scenes.nusc
        found = EvalBoxes()
        by_token: dict[str, list[DetectionBox]] = {token: [] for token in scenes.tokens}
        for box in _boxes(scenes, predictions):
            by_token[box.sample_token].append(box)
        for token, boxes in by_token.items():
            found.add_boxes(token, boxes)
        self.pred_boxes = self._filtered(scenes.nusc, found)
        with redirect_stderr(io.StringIO()):  # the devkit draws a progress bar
            wanted = load_gt_of_sample_tokens(scenes.nusc, scenes.tokens, DetectionBox)
        self.gt_boxes = self._filtered(scenes.nusc, wanted)
        self.sample_tokens = self.gt_boxes.sample_tokens

    def _filtered(self, nusc: NuScenes, boxes: EvalBoxes) -> EvalBoxes:
        if not boxes.all:  # the devkit takes the kind of box from the first one
            return boxes
        return filter_eval_boxes(nusc, add_center_dist(nusc, boxes), self.cfg.class_range)


def _boxes(scenes: NuScenesScenes, table: BoxTable) -> list[DetectionBox]:
    found = []
    for row in range(len(table)):
        attribute = int(table.attribute[row])
        found.append(
            DetectionBox(
                sample_token=scenes.tokens[int(table.sample[row])],
                translation=tuple(table.center[row].tolist()),
                size=tuple(table.size[row].tolist()),
                rotation=tuple(table.rotation[row].tolist()),
                velocity=tuple(table.velocity[row].tolist()),
                detection_name=DETECTION_CLASSES[int(table.label[row])],
                detection_score=float(table.score[row]),
                attribute_name="" if attribute == NO_ATTRIBUTE else ATTRIBUTES[attribute],
                num_pts=int(table.num_points[row]),
            )
        )
    return found
