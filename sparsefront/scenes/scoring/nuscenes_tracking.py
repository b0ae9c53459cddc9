"""The nuScenes tracking score (AMOTA; Caesar et al., CVPR 2020, and nuScenes' tracking task):
nuscenes-devkit's numbers from arrays.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.scoring.box_table import Ints
from sparsefront.scenes.scoring.track_table import TRACKING_CLASSES, TrackFrames, TrackTable
from sparsefront.scenes.scoring.tracking_curves import (
    METRICS,
    TrackingConfig,
    metrics_at,
    over_classes,
    summarise,
    thresholds,
    unreached_metrics,
)
from sparsefront.scenes.scoring.tracking_distances import frame_distances
from sparsefront.scenes.scoring.tracking_events import ClassFrames, frame_events, track_times
from sparsefront.scenes.scoring.tracking_interpolation import Tracks, interpolate_tracks


@dataclass(frozen=True, kw_only=True)
class TrackingScores:
    """amota, motar, mota, recall 0..1; amotp and motp m; faf false positives in 100 frames; tid and
    lgd s; the others counts. label_metrics by metric and class (NaN for a class without labels),
    overall by metric: mt, ml, tp, fp, fn, ids and frag summed, the others averaged over classes.
    """

    label_metrics: dict[str, dict[str, float]]
    overall: dict[str, float]

    @property
    def AMOTA(self) -> float:
        return self.overall["amota"]

    @property
    def AMOTP(self) -> float:
        return self.overall["amotp"]


def score(
    ground_truth: TrackTable,
    predictions: TrackTable,
    frames: TrackFrames,
    config: TrackingConfig | None = None,
) -> TrackingScores:
    """Scores of filtered boxes (filters.py) over exactly these frames; `sample` of a box is the
    number of its frame. InputError, one line, for scores or centres that are not finite, a frame
    that is none, a label track twice in a frame.
    """
    config = config or TrackingConfig()
    _check("ground truth", ground_truth, frames)
    _check("predictions", predictions, frames)
    if not np.isfinite(predictions.boxes.score).all():
        bad = predictions.boxes.score[~np.isfinite(predictions.boxes.score)][0]
        raise InputError(f"tracking_score: value {bad}; allowed: finite numbers")
    names, number = np.unique(ground_truth.track, return_inverse=True)
    pairs = ground_truth.boxes.sample * len(names) + number
    if len(np.unique(pairs)) < len(pairs):
        raise InputError("ground truth: a track is twice in a frame; allowed: once")
    wanted = interpolate_tracks(ground_truth, frames)
    found = interpolate_tracks(predictions, frames)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # compiled loops let go of the lock
        values = list(pool.map(lambda n: class_metrics(wanted, found, n, config), TRACKING_CLASSES))
    by_class = dict(zip(TRACKING_CLASSES, values, strict=True))
    label_metrics = {m: {name: v[m] for name, v in by_class.items()} for m in METRICS}
    return TrackingScores(
        label_metrics=label_metrics,
        overall={m: over_classes(np.array(list(v.values())), m) for m, v in label_metrics.items()},
    )


def class_metrics(
    wanted: Tracks, found: Tracks, name: str, config: TrackingConfig
) -> dict[str, float]:
    """Every metric of one class; NaN where it has no labels."""
    label = DETECTION_CLASSES.index(name)
    theirs, mine = (np.flatnonzero(t.label == label) for t in (wanted, found))
    if len(theirs) == 0:
        return dict.fromkeys(METRICS, np.nan)
    data = class_frames(wanted, theirs, found, mine)
    scores = frame_events(data, -np.inf, config.distance_m).scores
    if len(scores) > len(theirs):
        raise InputError(
            f"predictions: {len(scores)} matches of {len(theirs)} labels of {name}, as tracks are "
            "twice in a frame; allowed: once"
        )
    levels = thresholds(scores, len(theirs), config)
    counted = {}
    for threshold in np.unique(levels[~np.isnan(levels)]):
        events = frame_events(data, threshold, config.distance_m)
        counted[threshold] = metrics_at(events, track_times(data, events))
    if not counted:
        names = len(np.unique(wanted.given[theirs]))
        return summarise([unreached_metrics(len(theirs), names, config)], config)
    unknown = dict.fromkeys(METRICS[2:], np.nan)
    return summarise([counted.get(t, unknown) for t in levels], config)


def class_frames(wanted: Tracks, theirs: Ints, found: Tracks, mine: Ints) -> ClassFrames:
    """Rows `theirs` of wanted and `mine` of found, frame by frame."""
    tracks = np.unique(wanted.track[theirs], return_inverse=True)[1]
    frames = np.unique(np.concatenate([wanted.frame[theirs], found.frame[mine]]))
    limits = np.append(frames, frames[-1] + 1)
    wanted_at = np.searchsorted(wanted.frame[theirs], limits)
    found_at = np.searchsorted(found.frame[mine], limits)
    ours, others, score = wanted.center[theirs], found.center[mine], found.score[mine]
    distance, begins = frame_distances(ours, wanted_at, others, found_at)
    has = np.diff(found_at) > 0
    best = np.lexsort((-score, np.repeat(np.arange(len(frames)), np.diff(found_at))))
    to_best, best_begins = frame_distances(
        ours, wanted_at, others[best[found_at[:-1][has]]], np.append(0, np.cumsum(has))
    )
    return ClassFrames(
        wanted_at, found_at, tracks, found.track[mine], score, distance, begins, to_best,
        best_begins,
    )  # fmt: skip


def _check(name: str, table: TrackTable, frames: TrackFrames) -> None:
    sample = table.boxes.sample
    if len(table) and not (sample.min() >= 0 and sample.max() < len(frames)):
        bad = sample[(sample < 0) | (sample >= len(frames))][0]
        raise InputError(f"{name}: sample {bad}; allowed: 0 to {len(frames) - 1}")
    if not np.isfinite(table.boxes.center).all():
        raise InputError(f"{name}: a centre is not finite; allowed: finite numbers")
