"""What every trial reads of the evaluation frames, read once: decoded frames, filtered labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.kitti import KittiScenes
from sparsefront.scenes.loader import Loader
from sparsefront.scenes.scoring import kitti_frames, nuscenes_frames, tracking_frames
from sparsefront.search.config.data import Scenes, share_of
from sparsefront.search.config.trial_spec import TrialSpec

MOST_BYTES = 1 << 29
"""Of decoded frames: the object store of a laptop holds a gigabyte or two."""


@dataclass(frozen=True, kw_only=True)
class EvaluationFrames:
    """Entries for Scenes.decoded, up to MOST_BYTES, and by the share of the frames those for
    Scenes.cache.
    """

    decoded: dict[object, object]
    labels: dict[float, dict[object, object]]


def key_of(spec: TrialSpec) -> str:
    """What they depend on; nothing of a task of one's own, which keeps its data itself."""
    if spec.task is not None:
        return ""
    model, _, val = spec.parts
    tracker = spec.tracker is not None
    parts = [asdict(val), asdict(spec.image), spec.on_bad_sample, tracker, model.task]
    return json.dumps(parts, sort_keys=True, default=str)


def read(spec: TrialSpec, shares: Sequence[float]) -> EvaluationFrames:
    """Of all frames, and the labels that each share of them is scored against."""
    if spec.task is not None:
        return EvaluationFrames(decoded={}, labels={})
    scenes = share_of(spec.parts.val, 1.0, spec.on_bad_sample)
    loader = Loader(scenes, spec.image, None, batch_size=1, shuffle=False, seed=0)
    decoded: dict[object, object] = {}
    size = 0
    for index in range(len(scenes.tokens)):
        try:
            key, found = loader.decode(index)
        except BadSample:  # the trial says so, or leaves it out
            continue
        if (size := size + found.nbytes) > MOST_BYTES:
            break
        decoded[key] = found
    labels = {}
    for share in {1.0, *shares}:
        chosen = _share(spec, share)
        _read_labels(chosen, spec)
        labels[share] = dict(chosen.cache)
    return EvaluationFrames(decoded=decoded, labels=labels)


def keep(frames: EvaluationFrames, spec: TrialSpec) -> None:
    """Here, where this process has not read them itself."""
    if spec.task is not None:
        return
    _fill(share_of(spec.parts.val, 1.0, spec.on_bad_sample).decoded, frames.decoded)
    for share, labels in frames.labels.items():
        _fill(_share(spec, share).cache, labels)


def _share(spec: TrialSpec, share: float) -> Scenes:
    return share_of(spec.parts.val, share, spec.on_bad_sample, spec.tracker is not None)


def _read_labels(scenes: Scenes, spec: TrialSpec) -> None:
    if spec.parts.model.task == "map":
        return  # rasters are made frame by frame
    if isinstance(scenes, KittiScenes):
        kitti_frames.truth_of(scenes)
        return
    nuscenes_frames.detection_truth(scenes)
    if spec.tracker is not None:
        tracking_frames.tracking_truth(scenes)


def _fill(known: dict[Any, object], found: dict[object, object]) -> None:
    for key, value in found.items():
        known.setdefault(key, value)
