"""KITTI's object benchmark (Geiger et al., CVPR 2012) as frames of scenes.

Boxes and points come in our LiDAR frame (x right, y forward, z up): the Velodyne's, turned by a
quarter. Cars, pedestrians and cyclists are car, pedestrian and bicycle.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.frame import Frame, OnBadSample
from sparsefront.scenes.geometry import Array, points_in_boxes, transform, yaw_matrix
from sparsefront.scenes.kitti_files import (
    DONT_CARE,
    MAX_OCCLUSION,
    MAX_TRUNCATION,
    MIN_PIXELS,
    KittiObjects,
    read_calibration,
    read_objects,
    read_points,
)
from sparsefront.scenes.store.sample_store import stores_folder

CLASSES = {"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "bicycle"}
INTENSITY_SCALE = 255.0
"""KITTI stores reflectance as 0..1, nuScenes intensity as 0..255, which our models read."""
TO_OURS = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
"""4x4 of the Velodyne's frame (x forward, y left) -> our LiDAR frame (x right, y forward)."""


@dataclass(frozen=True, kw_only=True)
class KittiSpec:
    """Frames of kitti_root/<split>, which has image_2, velodyne, calib and, with boxes, label_2.

    kitti_root  folder of the object benchmark; $VARIABLES are expanded
    split       "training", or "testing", which has no labels
    frames      their numbers ("000008"); None: those of image_set, or all there are
    image_set   a list of numbers, kitti_root/ImageSets/<image_set>.txt (train, val)
    """

    kitti_root: str
    split: str = "training"
    frames: tuple[str, ...] | None = None
    image_set: str | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.image_set is not None:
            raise InputError("frames, image_set: both are given; allowed: one of the two")


@dataclass(frozen=True)
class Label:
    """A line of a label file: kind, truncation 0..1, occlusion 0..3, height of the box in the image
    in pixels, and the box [7] in our LiDAR frame (z of the centre).
    """

    kind: str
    truncated: float
    occluded: int
    pixels_high: float
    box: Array

    @property
    def difficulty(self) -> int | None:
        """0 easy, 1 moderate, 2 hard, None beyond (the benchmark's rules)."""
        limits = zip(MIN_PIXELS, MAX_OCCLUSION, MAX_TRUNCATION, strict=True)
        for number, (pixels, occluded, truncated) in enumerate(limits):
            if (
                self.pixels_high > pixels
                and self.occluded <= occluded
                and self.truncated <= truncated
            ):
                return number
        return None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of one frame: projection [3, 4] rectified camera frame -> pixels of image_2, to_camera 4x4 of
    our LiDAR frame -> rectified camera frame.
    """

    projection: Array
    to_camera: Array


class KittiScenes:
    """Frames of a KittiSpec. InputError where there are none."""

    def __init__(self, spec: KittiSpec, on_bad_sample: OnBadSample = "raise") -> None:
        self.spec, self.on_bad_sample = spec, on_bad_sample
        self.root = Path(os.path.expandvars(spec.kitti_root)).expanduser()
        self.folder = self.root / spec.split
        if not self.root.is_dir():
            raise InputError(
                f"kitti_root: {self.root} is not a folder; allowed: KITTI's object root"
            )
        if not self.folder.is_dir():
            found = sorted(p.parent.name for p in self.root.glob("*/velodyne"))
            raise InputError(
                f"split: value {spec.split!r} is not in {self.root}; allowed: {', '.join(found)}"
            )
        self.labelled = (self.folder / "label_2").is_dir()
        kind = "label_2/*.txt" if self.labelled else "velodyne/*.bin"
        found = sorted(p.stem for p in self.folder.glob(kind))
        tokens = found
        if spec.frames is not None:
            tokens = list(spec.frames)
        elif spec.image_set is not None:
            tokens = self._image_set(spec.image_set)
        if absent := sorted(set(tokens) - set(found)):
            what = "label" if self.labelled else "scan"
            name = "image_set" if spec.image_set is not None else "frames"
            raise InputError(f"{name}: {absent[0]} has no {what} in {self.folder}")
        if not tokens:
            raise InputError(f"split: {spec.split!r} has no {kind} in {spec.kitti_root}")
        self.tokens: list[str] = tokens
        self.cache: dict[object, object] = {}
        self.decoded: dict[object, object] = {}
        self.skipped: dict[str, str] = {}
        """Frames that could not be read: token -> reason."""

    def without(self, tokens: Iterable[str]) -> KittiScenes:
        """The same frames less some."""
        gone = set(tokens)
        found = copy(self)
        found.tokens = [token for token in self.tokens if token not in gone]
        found.cache, found.skipped = {}, {}
        return found

    def frame(self, token: str) -> Frame:
        """Read one frame from disk. InputError in one line for a damaged file."""
        calibration = self.calibration(token)
        intrinsics, to_camera = _camera(calibration)
        labels = [x for x in self.labels(token) if x.kind in CLASSES]
        boxes = np.array([[*x.box, np.nan, np.nan] for x in labels]).reshape(-1, 9)
        numbers = [DETECTION_CLASSES.index(CLASSES[x.kind]) for x in labels]
        turns = np.array([yaw_matrix(x.box[6]) for x in labels]).reshape(-1, 3, 3)
        points = _points(self.folder / "velodyne" / f"{token}.bin")
        return Frame(
            token=token,
            image_paths=(self.image(token),),
            image_sizes=np.zeros((1, 2), dtype=np.int32),
            intrinsics=intrinsics[None],
            lidar_to_camera=to_camera[None],
            camera_to_ego=np.linalg.inv(to_camera)[None],
            points=points,
            boxes=boxes,
            box_rotations=turns,
            labels=np.array(numbers, dtype=np.int64),
            num_lidar_pts=points_in_boxes(points, boxes).sum(axis=1),
            num_radar_pts=np.zeros(len(labels), dtype=np.int64),
            attributes=("",) * len(labels),
            tracks=np.full(len(labels), -1),
            lidar_to_global=np.eye(4),
            ego_to_global=np.eye(4),
        )

    def __getstate__(self) -> dict[str, object]:
        """For worker processes: they start with nothing kept."""
        return {**self.__dict__, "cache": {}, "decoded": {}}

    def objects_folder(self, key: str) -> Path:
        """Where objects to paste are kept; another one when a label changes."""
        labels = sorted((self.folder / "label_2").glob("*.txt"))
        known = json.dumps([[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in labels])
        source = hashlib.sha256(f"{self.folder.resolve()} {known}".encode()).hexdigest()[:10]
        return stores_folder() / f"{self.root.name}-{self.spec.split}-{source}-objects-{key}"

    def label_counts(self) -> list[int]:
        """Boxes of each of DETECTION_CLASSES, without reading a sensor."""
        kinds = [CLASSES.get(x.kind) for token in self.tokens for x in self.labels(token)]
        return [kinds.count(name) for name in DETECTION_CLASSES]

    def training_frames(self, seed: int) -> NDArray[np.int64]:
        """Places in `tokens` that one epoch of training reads: each once."""
        return np.arange(len(self.tokens))

    def image(self, token: str) -> Path:
        """The left colour camera's image."""
        return self.folder / "image_2" / f"{token}.png"

    def calibration(self, token: str) -> Calibration:
        read = read_calibration(self.folder / "calib" / f"{token}.txt")
        rectify, move = np.eye(4), np.eye(4)
        rectify[:3, :3], move[:3] = read["R0_rect"], read["Tr_velo_to_cam"]
        to_camera = rectify @ move @ np.linalg.inv(TO_OURS)
        return Calibration(projection=read["P2"], to_camera=to_camera)

    def objects(self, token: str) -> KittiObjects:
        """The label file's lines in the camera frame, DontCare among them; InputError for a split
        without labels.
        """
        if not self.labelled:
            raise InputError(f"split: {self.folder} has no label_2; allowed: a split with labels")
        return read_objects(self.folder / "label_2" / f"{token}.txt", scored=False)

    def labels(self, token: str) -> list[Label]:
        """Every line of the label file but DontCare, in its order; none for a split without."""
        if not self.labelled:
            return []
        objects = self.objects(token)
        from_camera = np.linalg.inv(self.calibration(token).to_camera)
        rows = np.flatnonzero(objects.kind != DONT_CARE)
        return [_label(objects, int(row), from_camera) for row in rows]

    def _image_set(self, name: str) -> list[str]:
        path = self.root / "ImageSets" / f"{name}.txt"
        if not path.is_file():
            raise InputError(f"image_set: {path} is missing; allowed: a list of frame numbers")
        return path.read_text().split()


def _label(objects: KittiObjects, row: int, from_camera: Array) -> Label:
    height, width, length = objects.size[row]
    _, top, _, bottom = objects.pixels[row]
    centre = transform(from_camera, objects.bottom[row : row + 1] - [0, height / 2, 0])[0]
    turn = objects.turn[row]
    ahead = from_camera[:3, :3] @ np.array([np.cos(turn), 0.0, -np.sin(turn)])
    yaw = np.arctan2(ahead[1], ahead[0])
    return Label(
        kind=str(objects.kind[row]).capitalize(), truncated=float(objects.truncated[row]),
        occluded=int(objects.occluded[row]), pixels_high=float(bottom - top),
        box=np.array([*centre, length, width, height, yaw]),
    )  # fmt: skip


def _camera(calibration: Calibration) -> tuple[Array, Array]:
    """Intrinsics [3, 3] of image_2 and 4x4 of our LiDAR frame -> that camera's frame."""
    intrinsics = calibration.projection[:, :3]
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.inv(intrinsics) @ calibration.projection[:, 3]
    return intrinsics, shift @ calibration.to_camera


def _points(path: Path) -> NDArray[np.float32]:
    """[P, 5]: x, y, z in our LiDAR frame, intensity 0..255, 0."""
    points = read_points(path)
    xyz = transform(TO_OURS, points[:, :3].astype(np.float64))
    rest = np.stack([points[:, 3] * INTENSITY_SCALE, np.zeros(len(points))], axis=1)
    return np.concatenate([xyz, rest], axis=1).astype(np.float32)
