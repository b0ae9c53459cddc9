"""KITTI's object benchmark (Geiger et al., CVPR 2012) as frames of scenes.

Boxes and points come in our LiDAR frame (x right, y forward, z up): the Velodyne's, turned by a
quarter. Cars, pedestrians and cyclists are car, pedestrian and bicycle.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenes.batch import DETECTION_CLASSES
from scenes.frame import Frame
from scenes.geometry import transform

Array = NDArray[np.float64]
CLASSES = {"Car": "car", "Pedestrian": "pedestrian", "Cyclist": "bicycle"}
INTENSITY_SCALE = 255.0
TO_OURS = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=np.float64)
COLUMNS = 15


@dataclass(frozen=True, kw_only=True)
class KittiSpec:
    """Frames of a folder with image_2, velodyne, calib and label_2 (kitti_root/training).

    frames  their numbers ("000008"); None: all that have a label
    """

    kitti_root: str
    split: str = "training"
    frames: tuple[str, ...] | None = None


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
        limits = ((40.0, 0, 0.15), (25.0, 1, 0.30), (25.0, 2, 0.50))
        for number, (pixels, occluded, truncated) in enumerate(limits):
            if (
                self.pixels_high >= pixels
                and self.occluded <= occluded
                and self.truncated <= truncated
            ):
                return number
        return None


class KittiScenes:
    """Frames of a KittiSpec. ValueError where there are none."""

    def __init__(self, spec: KittiSpec) -> None:
        self.spec = spec
        self.folder = Path(os.path.expandvars(spec.kitti_root)).expanduser() / spec.split
        if not self.folder.is_dir():
            raise ValueError(
                f"kitti_root: {self.folder} is not a folder; allowed: KITTI's object root"
            )
        found = sorted(p.stem for p in (self.folder / "label_2").glob("*.txt"))
        tokens = list(spec.frames) if spec.frames is not None else found
        if absent := sorted(set(tokens) - set(found)):
            raise ValueError(f"frames: {absent[0]} has no label in {self.folder}")
        if not tokens:
            raise ValueError(f"split: {spec.split!r} has no label_2/*.txt in {spec.kitti_root}")
        self.tokens: list[str] = tokens
        self.cache: dict[object, object] = {}

    def frame(self, token: str) -> Frame:
        """Read one frame from disk."""
        calibration = _calibration(self.folder / "calib" / f"{token}.txt")
        intrinsics, to_camera = _camera(calibration)
        labels = [x for x in self.labels(token) if x.kind in CLASSES]
        boxes = np.array([[*x.box, np.nan, np.nan] for x in labels]).reshape(-1, 9)
        numbers = [DETECTION_CLASSES.index(CLASSES[x.kind]) for x in labels]
        turns = np.array([_turn(x.box[6]) for x in labels]).reshape(-1, 3, 3)
        count = np.ones(len(labels), dtype=np.int64)
        return Frame(
            token=token,
            image_paths=(self.folder / "image_2" / f"{token}.png",),
            image_sizes=np.zeros((1, 2), dtype=np.int32),
            intrinsics=intrinsics[None],
            lidar_to_camera=to_camera[None],
            camera_to_ego=np.linalg.inv(to_camera)[None],
            points=_points(self.folder / "velodyne" / f"{token}.bin"),
            boxes=boxes,
            box_rotations=turns,
            labels=np.array(numbers, dtype=np.int64),
            num_lidar_pts=count,
            num_radar_pts=0 * count,
            attributes=("",) * len(labels),
            tracks=np.full(len(labels), -1),
            lidar_to_global=np.eye(4),
            ego_to_global=np.eye(4),
        )

    def training_frames(self, seed: int) -> NDArray[np.int64]:
        """Places in `tokens` that one epoch of training reads: each once."""
        return np.arange(len(self.tokens))

    def labels(self, token: str) -> list[Label]:
        """Every line of the label file but DontCare, in its order."""
        path = self.folder / "label_2" / f"{token}.txt"
        calibration = _calibration(self.folder / "calib" / f"{token}.txt")
        from_camera = np.linalg.inv(_rectified(calibration))
        found = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            words = line.split()
            if len(words) != COLUMNS:
                raise ValueError(f"{path}: line {number}: {len(words)} columns; allowed: {COLUMNS}")
            if words[0] != "DontCare":
                found.append(_label(words, from_camera))
        return found


def _label(words: list[str], from_camera: Array) -> Label:
    """Columns: kind, truncation, occlusion, alpha, image box (4), height, width, length, x, y, z of
    the bottom in the camera frame (y down), turn around y.
    """
    numbers = [float(w) for w in words[1:]]
    top, bottom = numbers[4], numbers[6]
    height, width, length, x, y, z, turn = numbers[7:]
    centre = transform(from_camera, np.array([[x, y - height / 2, z]]))[0]
    ahead = from_camera[:3, :3] @ np.array([np.cos(turn), 0.0, -np.sin(turn)])
    yaw = np.arctan2(ahead[1], ahead[0])
    return Label(
        kind=words[0], truncated=numbers[0], occluded=int(numbers[1]), pixels_high=bottom - top,
        box=np.array([*centre, length, width, height, yaw]),
    )  # fmt: skip


def _calibration(path: Path) -> dict[str, Array]:
    found = {}
    for line in path.read_text().splitlines():
        name, _, values = line.partition(":")
        if values.strip():
            found[name.strip()] = np.array([float(v) for v in values.split()])
    missing = {"P2", "R0_rect", "Tr_velo_to_cam"} - set(found)
    if missing:
        raise ValueError(f"{path}: {sorted(missing)[0]} is missing")
    return found


def _rectified(calibration: dict[str, Array]) -> Array:
    """4x4 of our LiDAR frame -> rectified camera frame."""
    rectify, move = np.eye(4), np.eye(4)
    rectify[:3, :3] = calibration["R0_rect"].reshape(3, 3)
    move[:3] = calibration["Tr_velo_to_cam"].reshape(3, 4)
    out: Array = rectify @ move @ np.linalg.inv(TO_OURS)
    return out


def _camera(calibration: dict[str, Array]) -> tuple[Array, Array]:
    """Intrinsics [3, 3] of image_2 and 4x4 of our LiDAR frame -> that camera's frame."""
    projection = calibration["P2"].reshape(3, 4)
    intrinsics = projection[:, :3]
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.inv(intrinsics) @ projection[:, 3]
    return intrinsics, shift @ _rectified(calibration)


def _points(path: Path) -> NDArray[np.float32]:
    """[P, 5]: x, y, z in our LiDAR frame, intensity 0..255, 0. ValueError where damaged."""
    values = np.fromfile(path, dtype=np.float32)
    if values.size % 4:
        raise ValueError(f"{path}: {values.size} numbers; allowed: a multiple of 4")
    points = values.reshape(-1, 4)
    xyz = transform(TO_OURS, points[:, :3].astype(np.float64))
    rest = np.stack([points[:, 3] * INTENSITY_SCALE, np.zeros(len(points))], axis=1)
    return np.concatenate([xyz, rest], axis=1).astype(np.float32)


def _turn(yaw: float) -> Array:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
