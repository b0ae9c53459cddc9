"""nuscenes-devkit's own TrackingEval on boxes in memory: what ours is compared with. Needs
motmetrics==1.4.0.
"""

from __future__ import annotations

import io
import json
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

import numpy as np
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import (
    add_center_dist,
    filter_eval_boxes,
    load_gt_of_sample_tokens,
)
from nuscenes.eval.tracking.data_classes import TrackingBox

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.nuscenes import NuScenesScenes
from sparsefront.scenes.scoring.nuscenes_tracking import TrackingScores
from sparsefront.scenes.scoring.track_table import TRACKED_LABELS, TrackFrames, TrackTable

CONFIG = config_factory("tracking_nips_2019")
SPLIT = "frames"


def devkit_tracking_score(
    scenes: NuScenesScenes, predictions: TrackTable, frames: TrackFrames
) -> TrackingScores:
    """The devkit's numbers for unfiltered predictions: ground truth and filters are its own too."""
    with redirect_stderr(io.StringIO()):  # the devkit draws a progress bar
        wanted = load_gt_of_sample_tokens(scenes.nusc, scenes.tokens, TrackingBox)
    boxes = []
    for one in (wanted, eval_boxes(predictions, scenes.tokens)):
        if one.all:  # the devkit takes the kind of box from the first one
            one = filter_eval_boxes(
                scenes.nusc, add_center_dist(scenes.nusc, one), CONFIG.class_range
            )
        boxes.append(one)
    return evaluate_boxes(boxes[0], boxes[1], frames, scenes.tokens)


def devkit_tables_score(
    ground_truth: TrackTable, predictions: TrackTable, frames: TrackFrames
) -> TrackingScores:
    """The devkit's numbers for filtered boxes."""
    tokens = [str(number) for number in range(len(frames))]
    return evaluate_boxes(
        eval_boxes(ground_truth, tokens), eval_boxes(predictions, tokens), frames, tokens
    )


def evaluate_boxes(
    wanted: EvalBoxes, found: EvalBoxes, frames: TrackFrames, tokens: list[str]
) -> TrackingScores:
    """TrackingEval.evaluate() on filtered boxes: only its loading is replaced. InputError where
    motmetrics is not installed.
    """
    try:
        from nuscenes.eval.tracking.evaluate import TrackingEval
        from nuscenes.eval.tracking.loaders import create_tracks
    except SkipTest as error:  # what the devkit makes of the ImportError
        raise InputError(
            f"scorer: value 'devkit': {error}; allowed: with motmetrics==1.4.0 installed"
        ) from error

    evaluation = TrackingEval.__new__(TrackingEval)
    evaluation.cfg, evaluation.verbose = CONFIG, False
    evaluation.output_dir, evaluation.render_classes = "", None
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas and means over nothing
        tables: Any = _Tables(frames, tokens, Path(folder))
        evaluation.tracks_gt = create_tracks(wanted, tables, SPLIT, gt=True)
        evaluation.tracks_pred = create_tracks(found, tables, SPLIT, gt=False)
        metrics = evaluation.evaluate()[0]
        said = metrics.serialize()
    return TrackingScores(
        label_metrics=said["label_metrics"],
        overall={name: float(said[name]) for name in said["label_metrics"]},
    )


def eval_boxes(table: TrackTable, tokens: list[str]) -> EvalBoxes:
    """Rows of tracking classes as the devkit's boxes, the track's number as its id."""
    found = EvalBoxes()
    by_token: dict[str, list[TrackingBox]] = {token: [] for token in tokens}
    boxes = table.boxes
    for row in np.flatnonzero(np.isin(boxes.label, TRACKED_LABELS)):
        token = tokens[int(boxes.sample[row])]
        by_token[token].append(
            TrackingBox(
                sample_token=token,
                translation=tuple(boxes.center[row].tolist()),
                size=tuple(boxes.size[row].tolist()),
                rotation=tuple(boxes.rotation[row].tolist()),
                velocity=tuple(boxes.velocity[row].tolist()),
                num_pts=int(boxes.num_points[row]),
                tracking_id=str(table.track[row]),
                tracking_name=DETECTION_CLASSES[int(boxes.label[row])],
                tracking_score=float(boxes.score[row]),
            )
        )
    for token, mine in by_token.items():
        found.add_boxes(token, mine)
    return found


class _Tables:
    """What create_tracks asks of the NuScenes tables, for these frames alone; the split is a
    splits.json in the folder.
    """

    version = "."

    def __init__(self, frames: TrackFrames, tokens: list[str], folder: Path) -> None:
        self.dataroot = str(folder)
        self.records: dict[str, dict[str, dict[str, Any]]] = {"scene": {}, "sample": {}}
        for number in np.unique(frames.scene):
            mine = [tokens[i] for i in np.flatnonzero(frames.scene == number)]
            scene = {"name": f"scene-{number}", "first_sample_token": mine[0]}
            self.records["scene"][str(number)] = {**scene, "last_sample_token": mine[-1]}
            for token, after in zip(mine, [*mine[1:], ""], strict=True):
                self.records["sample"][token] = {"scene_token": str(number), "next": after}
        for token, timestamp in zip(tokens, frames.timestamp.tolist(), strict=True):
            self.records["sample"][token]["timestamp"] = timestamp
        self.scene = list(self.records["scene"].values())
        names = [scene["name"] for scene in self.scene]
        (folder / "splits.json").write_text(json.dumps({SPLIT: names}))

    def get(self, table: str, token: str) -> dict[str, Any]:
        return self.records[table][token]
