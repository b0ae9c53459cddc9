"""KITTI's score of detections of KittiScenes, without files; the files only when asked for.

Shape legend: K detections of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import whole_folder
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.geometry import Array, transform
from sparsefront.scenes.kitti import CLASSES, Calibration, KittiScenes
from sparsefront.scenes.kitti_files import KittiObjects
from sparsefront.scenes.kitti_geometry import clip_to_image, image_boxes, observed_angle, wrap_angle
from sparsefront.scenes.scoring.kitti_detection import KittiAp, score, warn_of_few

KINDS = {DETECTION_CLASSES.index(ours): kitti for kitti, ours in CLASSES.items()}
TRUTH, CAMERAS = "kitti ground truth", "kitti calibrations and image sizes"
"""Keys of the scenes' cache."""


@dataclass(frozen=True, kw_only=True)
class FrameCamera:
    """What scoring reads of a frame besides detections: its calibration and image size."""

    calibration: Calibration
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class KittiScores:
    """metric (3d, bev, bbox, aos) -> class (car, pedestrian, cyclist) -> R40 and R11 -> easy,
    moderate, hard in percent. aos is empty where an angle is missing.
    """

    percent: KittiAp

    def moderate(self, metric: str, kind: str) -> float:
        """AP at 40 points of the moderate difficulty, the benchmark's ranking; InputError for a
        metric or a class that was not evaluated.
        """
        found = self.percent.get(metric, {}).get(kind)
        if found is None:
            known = {m: sorted(kinds) for m, kinds in self.percent.items()}
            raise InputError(f"metric, class: {metric!r}, {kind!r}; allowed: {known}")
        return found["R40"][1]


def score_kitti(scenes: KittiScenes, detections: Mapping[str, Detections]) -> KittiScores:
    """The official score of detections in our LiDAR frame, one entry for each of scenes.tokens;
    labels, calibrations and image sizes are read once per set of scenes. InputError where a frame
    is missing or the split has no labels.
    """
    _require_frames(scenes, detections)
    truth = truth_of(scenes)
    found = [in_camera(detections[t], camera_of(scenes, t)) for t in scenes.tokens]
    return KittiScores(percent=score(truth, found))


def truth_of(scenes: KittiScenes) -> list[KittiObjects]:
    """Labels of each frame, read on first use. InputError where the split has none."""
    found = scenes.cache.get(TRUTH)
    if not isinstance(found, list):
        scenes.cache[TRUTH] = found = [scenes.objects(token) for token in scenes.tokens]
        warn_of_few(found)
    return found


def write_kitti_results(
    scenes: KittiScenes, detections: Mapping[str, Detections], folder: str | Path
) -> Path:
    """Official result files FOLDER/<frame>.txt of all frames, numbers in full so that they score
    the same. The folder is there complete or not at all; InputError where it exists.
    """
    _require_frames(scenes, detections)
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"folder: {folder} exists; allowed: a new folder")
    with whole_folder(folder) as unfinished:
        for token in scenes.tokens:
            found = in_camera(detections[token], camera_of(scenes, token))
            (unfinished / f"{token}.txt").write_text("".join(_result_lines(found)))
    return folder


def camera_of(scenes: KittiScenes, token: str) -> FrameCamera:
    """Read once per set of scenes; the size is that of the stored image."""
    known = scenes.cache.setdefault(CAMERAS, {})
    assert isinstance(known, dict)
    if token not in known:
        width, height = _image_size(scenes.image(token))
        calibration = scenes.calibration(token)
        known[token] = FrameCamera(calibration=calibration, width=width, height=height)
    found: FrameCamera = known[token]
    return found


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.width, image.height
    except OSError as error:  # also what is no image
        raise InputError(f"{path}: {error}; allowed: an image file a frame") from error


def in_camera(found: Detections, camera: FrameCamera) -> KittiObjects:
    """Detections in the rectified camera frame, their image boxes around the projected corners and
    cut at the image's borders; without those outside the image and those of classes that KITTI
    does not have.
    """
    labels = found.labels.numpy()
    known = np.isin(labels, list(KINDS))
    boxes = found.boxes.double().numpy()[known]
    move = camera.calibration.to_camera
    size = boxes[:, [5, 4, 3]]
    centre = boxes[:, :3]
    bottom = transform(move, centre) + size[:, :1] * [0.0, 0.5, 0.0]
    turn = _turns(move, boxes[:, 6])
    whole = image_boxes(size, bottom, turn, camera.calibration.projection)
    pixels = clip_to_image(np.nan_to_num(whole, nan=-1.0), camera.width, camera.height)
    seen = (pixels[:, 2] > pixels[:, 0]) & (pixels[:, 3] > pixels[:, 1])
    unknown = np.full(int(seen.sum()), -1.0)
    return KittiObjects(
        kind=np.array([KINDS[int(n)].lower() for n in labels[known][seen]], dtype=np.str_),
        truncated=unknown, occluded=unknown, alpha=observed_angle(turn, bottom)[seen],
        pixels=pixels[seen], size=size[seen], bottom=bottom[seen], turn=turn[seen],
        score=found.scores.double().numpy()[known][seen],
    )  # fmt: skip


def _turns(move: Array, yaw: Array) -> Array:
    """Turn around the camera's y [K] of yaws around the LiDAR's z."""
    ahead = np.stack([np.cos(yaw), np.sin(yaw), np.zeros(len(yaw))], axis=1) @ move[:3, :3].T
    return wrap_angle(np.arctan2(-ahead[:, 2], ahead[:, 0]))


def _result_lines(found: KittiObjects) -> list[str]:
    rows = np.column_stack(
        [found.alpha, found.pixels, found.size, found.bottom, found.turn, found.score]
    ).tolist()
    return [
        f"{str(kind).capitalize()} -1 -1 {' '.join(map(repr, row))}\n"
        for kind, row in zip(found.kind, rows, strict=True)
    ]


def _require_frames(scenes: KittiScenes, detections: Mapping[str, Detections]) -> None:
    if missing := [t for t in scenes.tokens if t not in detections]:
        raise InputError(f"detections: frame {missing[0]} is missing; allowed: one entry a frame")
    if extra := sorted(set(detections) - set(scenes.tokens)):
        raise InputError(f"detections: frame {extra[0]} is not among the scenes; allowed: theirs")
    for token, found in detections.items():
        if not (found.boxes[:, :7].isfinite().all() and found.scores.isfinite().all()):
            raise InputError(f"detections: frame {token} has a box or a score that is not finite")
