"""nuScenes-format data through nuscenes-devkit's tables: real and made sets, one code path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nuscenes import NuScenes
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.splits import get_scenes_of_split
from pyquaternion import Quaternion

from scenes.batch import DETECTION_CLASSES
from scenes.geometry import Array, pose_matrix, transform

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR = "LIDAR_TOP"
EGO_BODY_M = 1.0
"""Points of sweeps closer than this in x and y are the ego's own body."""


@dataclass(frozen=True, kw_only=True)
class NuScenesSpec:
    """Which frames of which data root.

    root        folder with samples/, sweeps/ and the version's tables; $VARIABLES are expanded
    split       a split of nuscenes-devkit, one of the version folder's splits.json, or "all"
    num_sweeps  LiDAR sweeps besides the keyframe
    num_frames  that many frames, evenly spaced; None: all
    """

    root: str
    version: str = "v1.0-mini"
    split: str = "mini_train"
    num_sweeps: int = 1
    num_frames: int | None = None

    def __post_init__(self) -> None:
        if self.num_sweeps < 0:
            raise ValueError(f"num_sweeps: value {self.num_sweeps}; allowed: 0 and above")
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"num_frames: value {self.num_frames}; allowed: 1 and above")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One keyframe: everything in its LiDAR frame, N cameras in the order of CAMERAS.

    image_paths [N]; intrinsics [N, 3, 3] in pixels of the stored image; lidar_to_camera and
    camera_to_ego [N, 4, 4];
    points [P, 5] float32 (x, y, z, intensity, delta t in s); boxes [M, 9] as in scenes.batch;
    box_rotations [M, 3, 3] with the full tilt of each box (boxes keep only the yaw; on a tilted
    LiDAR the box that the annotator drew is the tilted one); labels [M]; num_lidar_pts and
    num_radar_pts [M]; attributes M names ('' where none);
    lidar_to_global and ego_to_global 4x4.
    """

    token: str
    image_paths: tuple[Path, ...]
    intrinsics: Array
    lidar_to_camera: Array
    camera_to_ego: Array
    points: NDArray[np.float32]
    boxes: Array
    box_rotations: Array
    labels: NDArray[np.int64]
    num_lidar_pts: NDArray[np.int64]
    num_radar_pts: NDArray[np.int64]
    attributes: tuple[str, ...]
    lidar_to_global: Array
    ego_to_global: Array


class NuScenesScenes:
    """Frames of one split. ValueError, naming root, version or split, where there are none."""

    def __init__(self, spec: NuScenesSpec) -> None:
        self.spec = spec
        self.nusc = open_tables(spec.root, spec.version)
        names = set(_scene_names(self.nusc, spec))
        tokens = [
            token
            for scene in self.nusc.scene
            if scene["name"] in names
            for token in _sample_tokens(self.nusc, scene)
        ]
        if not tokens:
            raise ValueError(f"split: {spec.split!r} has no scene in {spec.root} {spec.version}")
        if spec.num_frames is not None and spec.num_frames < len(tokens):
            places = np.linspace(0, len(tokens) - 1, spec.num_frames).round().astype(int)
            tokens = [tokens[i] for i in places]
        self.tokens: list[str] = tokens
        self.cache: dict[object, object] = {}

    def frame(self, token: str) -> Frame:
        """Read one keyframe from disk."""
        sample = self.nusc.get("sample", token)
        lidar = self.nusc.get("sample_data", sample["data"][LIDAR])
        lidar_to_ego, ego_to_global = self._poses(lidar)
        lidar_to_global = ego_to_global @ lidar_to_ego
        cameras = [self.nusc.get("sample_data", sample["data"][name]) for name in CAMERAS]
        boxes, turns, labels, counts, attributes = self._boxes(sample, lidar_to_global)
        return Frame(
            token=token,
            image_paths=tuple(Path(self.nusc.dataroot) / c["filename"] for c in cameras),
            intrinsics=np.array([self._intrinsic(c) for c in cameras]),
            lidar_to_camera=np.array([self._to_camera(c, lidar_to_global) for c in cameras]),
            camera_to_ego=np.array([self._poses(c)[0] for c in cameras]),
            points=self._points(lidar, lidar_to_global),
            boxes=boxes,
            box_rotations=turns,
            labels=labels,
            num_lidar_pts=counts[:, 0],
            num_radar_pts=counts[:, 1],
            attributes=attributes,
            lidar_to_global=lidar_to_global,
            ego_to_global=ego_to_global,
        )

    def lidar_to_global(self, token: str) -> Array:
        """4x4 of a keyframe, without reading its sensors."""
        sample = self.nusc.get("sample", token)
        lidar = self.nusc.get("sample_data", sample["data"][LIDAR])
        lidar_to_ego, ego_to_global = self._poses(lidar)
        out: Array = ego_to_global @ lidar_to_ego
        return out

    def _poses(self, data: dict[str, str]) -> tuple[Array, Array]:
        sensor = self.nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
        ego = self.nusc.get("ego_pose", data["ego_pose_token"])
        return (
            pose_matrix(sensor["translation"], sensor["rotation"]),
            pose_matrix(ego["translation"], ego["rotation"]),
        )

    def _intrinsic(self, data: dict[str, str]) -> Array:
        sensor = self.nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
        return np.array(sensor["camera_intrinsic"], dtype=np.float64)

    def _to_camera(self, data: dict[str, str], lidar_to_global: Array) -> Array:
        """LiDAR at its own time -> global -> camera at its own time."""
        camera_to_ego, ego_to_global = self._poses(data)
        out: Array = np.linalg.inv(ego_to_global @ camera_to_ego) @ lidar_to_global
        return out

    def _points(self, lidar: dict[str, str], lidar_to_global: Array) -> NDArray[np.float32]:
        """Keyframe and sweeps in the keyframe's LiDAR frame; delta t is 0 at the keyframe."""
        clouds = [_read_points(Path(self.nusc.dataroot) / lidar["filename"])]
        clouds[0][:, 4] = 0.0
        now = float(lidar["timestamp"])
        sweep = lidar
        for _ in range(self.spec.num_sweeps):
            if not sweep["prev"]:
                break
            sweep = self.nusc.get("sample_data", sweep["prev"])
            clouds.append(self._sweep(sweep, lidar_to_global, now))
        return np.concatenate(clouds)

    def _sweep(
        self, sweep: dict[str, str], lidar_to_global: Array, now: float
    ) -> NDArray[np.float32]:
        cloud = _read_points(Path(self.nusc.dataroot) / sweep["filename"])
        body = (np.abs(cloud[:, 0]) < EGO_BODY_M) & (np.abs(cloud[:, 1]) < EGO_BODY_M)
        cloud = cloud[~body]
        sweep_to_ego, ego_to_global = self._poses(sweep)
        motion = np.linalg.inv(lidar_to_global) @ ego_to_global @ sweep_to_ego
        cloud[:, :3] = transform(motion, cloud[:, :3].astype(np.float64))
        cloud[:, 4] = (now - float(sweep["timestamp"])) * 1e-6
        return cloud

    def _boxes(
        self, sample: dict[str, list[str]], lidar_to_global: Array
    ) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
        boxes, turns, labels, counts, attributes = [], [], [], [], []
        to_lidar = np.linalg.inv(lidar_to_global)
        for token in sample["anns"]:
            row = self.nusc.get("sample_annotation", token)
            name = category_to_detection_name(row["category_name"])
            if name is None:
                continue
            turn = to_lidar[:3, :3] @ Quaternion(row["rotation"]).rotation_matrix
            boxes.append(self._box(row, to_lidar, turn))
            turns.append(turn)
            labels.append(DETECTION_CLASSES.index(name))
            counts.append((row["num_lidar_pts"], row["num_radar_pts"]))
            names = [self.nusc.get("attribute", t)["name"] for t in row["attribute_tokens"]]
            attributes.append(names[0] if names else "")
        return (
            np.array(boxes, dtype=np.float64).reshape(-1, 9),
            np.array(turns, dtype=np.float64).reshape(-1, 3, 3),
            np.array(labels, dtype=np.int64),
            np.array(counts, dtype=np.int64).reshape(-1, 2),
            tuple(attributes),
        )

    def _box(self, row: dict[str, Any], to_lidar: Array, turn: Array) -> Array:
        """One annotation as [9] in the LiDAR frame; velocity NaN where the devkit gives none."""
        velocity = to_lidar[:3, :3] @ self.nusc.box_velocity(row["token"])
        width, length, height = row["size"]
        center = transform(to_lidar, np.array([row["translation"]]))[0]
        yaw = np.arctan2(turn[1, 0], turn[0, 0])
        return np.array([*center, length, width, height, yaw, *velocity[:2]])


@lru_cache(maxsize=4)
def open_tables(root: str, version: str) -> NuScenes:
    """The devkit's tables, once a process. ValueError where root or version is absent."""
    folder = Path(os.path.expandvars(root)).expanduser()
    if not folder.is_dir():
        raise ValueError(f"root: value {root!r} is not a folder; allowed: a nuScenes data root")
    if not (folder / version / "sample.json").is_file():
        found = sorted(p.parent.name for p in folder.glob("*/sample.json"))
        raise ValueError(f"version: value {version!r} is not in {root}; allowed: {found}")
    return NuScenes(version, str(folder), verbose=False)


def _scene_names(nusc: NuScenes, spec: NuScenesSpec) -> list[str]:
    """Names of a split: "all", the devkit's own, or one of the version folder's splits.json."""
    if spec.split == "all":
        return [scene["name"] for scene in nusc.scene]
    try:
        names: list[str] = get_scenes_of_split(spec.split, nusc)
    except (AssertionError, KeyError, ValueError, FileNotFoundError) as error:
        raise ValueError(
            f"split: value {spec.split!r} is unknown in {spec.root} {spec.version}; allowed: all, "
            "a split of nuscenes-devkit, or a name in the version folder's splits.json"
        ) from error
    return names


def _sample_tokens(nusc: NuScenes, scene: dict[str, str]) -> list[str]:
    tokens = []
    token = scene["first_sample_token"]
    while token:
        tokens.append(token)
        token = nusc.get("sample", token)["next"]
    return tokens


def _read_points(path: Path) -> NDArray[np.float32]:
    """[P, 5] float32 of a .pcd.bin file: x, y, z, intensity, ring. ValueError where damaged."""
    values = np.fromfile(path, dtype=np.float32)
    if values.size % 5:
        raise ValueError(f"{path}: {values.size} numbers; allowed: a multiple of 5")
    return values.reshape(-1, 5)
