"""nuScenes-format data, real and made, by one code path: frames from a prepared sample store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scenes.balance import class_balanced
from scenes.batch import DETECTION_CLASSES
from scenes.frame import Frame, OnBadSample
from scenes.geometry import Array, pose_matrices, rotation_matrices, transform
from scenes.lidar_sweeps import LidarSweep, merged
from scenes.map_raster import MapLayers
from scenes.nuscenes_root import data_root, open_tables, scene_names
from scenes.radar import RadarSweep, radar_cloud
from scenes.sample_store import NONE, SampleStore, open_store, require_same

if TYPE_CHECKING:
    from nuscenes import NuScenes

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
LIDAR = "LIDAR_TOP"
RADARS = (
    "RADAR_FRONT",
    "RADAR_FRONT_LEFT",
    "RADAR_FRONT_RIGHT",
    "RADAR_BACK_LEFT",
    "RADAR_BACK_RIGHT",
)


@dataclass(frozen=True, kw_only=True)
class NuScenesSpec:
    """Which frames of which data root.

    root        folder with samples/, sweeps/ and the version's tables; $VARIABLES are expanded
    split       a split of nuscenes-devkit, one of the version folder's splits.json, or "all"
    num_sweeps  LiDAR sweeps besides the keyframe
    num_frames  that many frames, evenly spaced; None: all
    radar_sweeps  sweeps of each radar, the keyframe among them (published: 6); None: no radar
    maps        targets of the map expansion (maps/expansion/*.json), for segmentation
    balance     "cbgs": training sees each class in as many frames as any other (Zhu et al., 2019)
    """

    root: str
    version: str = "v1.0-mini"
    split: str = "mini_train"
    num_sweeps: int = 1
    num_frames: int | None = None
    radar_sweeps: int | None = None
    maps: bool = False
    balance: Literal["none", "cbgs"] = "none"

    def __post_init__(self) -> None:
        if self.num_sweeps < 0:
            raise ValueError(f"num_sweeps: value {self.num_sweeps}; allowed: 0 and above")
        for name in ("num_frames", "radar_sweeps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: value {value}; allowed: 1 and above")


class NuScenesScenes:
    """Frames of one split. ValueError, naming root, version or split, where there are none."""

    def __init__(self, spec: NuScenesSpec, on_bad_sample: OnBadSample = "raise") -> None:
        self.spec, self.on_bad_sample = spec, on_bad_sample
        self.root = data_root(spec.root, spec.version)
        self.store = open_store(self.root, spec.version)
        every = [scene["name"] for scene in self.store.scenes]
        names = scene_names(self.root, spec.version, spec.split, every)
        scene = self.store.numbers("samples", "scene")
        wanted = np.array([name in names for name in every], dtype=bool)
        samples = np.flatnonzero(wanted[scene]) if len(scene) else np.zeros(0, int)
        if not len(samples):
            raise ValueError(f"split: {spec.split!r} has no scene in {spec.root} {spec.version}")
        if spec.num_frames is not None and spec.num_frames < len(samples):
            places = np.linspace(0, len(samples) - 1, spec.num_frames).round().astype(int)
            samples = samples[places]
        self._choose(samples)

    def _choose(self, samples: np.ndarray) -> None:
        self.samples = samples
        """Rows of the store's samples, in the order of `tokens`."""
        self.tokens = self.store.texts("samples", "token", samples)
        self._place = {token: int(row) for token, row in zip(self.tokens, samples, strict=True)}
        self.cache: dict[object, object] = {}
        self.skipped: dict[str, str] = {}
        """Frames that could not be read: token -> reason."""

    def without(self, tokens: Iterable[str]) -> NuScenesScenes:
        """The same split less some frames."""
        gone = set(tokens)
        kept = [i for i, token in enumerate(self.tokens) if token not in gone]
        found: NuScenesScenes = object.__new__(NuScenesScenes)
        found.spec, found.on_bad_sample = self.spec, self.on_bad_sample
        found.root, found.store = self.root, self.store
        found._choose(self.samples[kept])
        return found

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: they map the store themselves and start with nothing kept."""
        kept = {"samples": np.asarray(self.samples), "store": self.store.folder.name}
        return {"spec": self.spec, "on_bad_sample": self.on_bad_sample, **kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.spec, self.on_bad_sample = state["spec"], state["on_bad_sample"]
        self.root = data_root(self.spec.root, self.spec.version)
        self.store = open_store(self.root, self.spec.version)
        require_same(self.store, state["store"])
        self._choose(state["samples"])

    @cached_property
    def nusc(self) -> NuScenes:
        """The devkit's own tables, for its own scorers."""
        return open_tables(str(self.root), self.spec.version)

    def frame(self, token: str) -> Frame:
        """Read one keyframe from disk. BadSample naming a file that is missing or damaged."""
        files = self._files(token, (LIDAR, *CAMERAS))
        sensor_to_ego, ego_to_global = self._poses(files)
        lidar_to_global = ego_to_global[0] @ sensor_to_ego[0]
        store, cameras = self.store, files[1:]
        to_camera = [
            np.linalg.inv(ego @ sensor) @ lidar_to_global  # each camera at its own time
            for sensor, ego in zip(sensor_to_ego[1:], ego_to_global[1:], strict=True)
        ]
        of_sensor = store.numbers("data", "calibrated")[cameras]
        sizes = [store.numbers("data", side)[cameras] for side in ("width", "height")]
        return Frame(
            token=token,
            image_paths=tuple(self._path(row) for row in cameras),
            image_sizes=np.stack(sizes, axis=1),
            intrinsics=store.numbers("calibrated", "intrinsic")[of_sensor].reshape(-1, 3, 3),
            lidar_to_camera=np.array(to_camera),
            camera_to_ego=sensor_to_ego[1:],
            points=self._points(int(files[0]), lidar_to_global),
            **self._boxes(token, lidar_to_global),
            lidar_to_global=lidar_to_global,
            ego_to_global=ego_to_global[0],
            radar=self._radar(token, lidar_to_global),
            map_layers=self._map(token) if self.spec.maps else None,
        )

    def lidar_to_global(self, token: str) -> Array:
        """4x4 of a keyframe, without reading its sensors."""
        sensor_to_ego, ego_to_global = self._poses(self._files(token, (LIDAR,)))
        out: Array = ego_to_global[0] @ sensor_to_ego[0]
        return out

    def objects_folder(self, key: str) -> Path:
        """Where objects to paste are kept: with the store, and gone with its tables."""
        return self.store.folder.with_name(f"{self.store.folder.name}-objects-{key}")

    def training_frames(self, seed: int) -> np.ndarray:
        """Places in `tokens` that one epoch of training reads."""
        if self.spec.balance == "none":
            return np.arange(len(self.tokens))
        rows, frame = self.box_rows()
        label = self.store.numbers("boxes", "label")[rows]
        present = np.zeros((len(self.tokens), len(DETECTION_CLASSES)), dtype=bool)
        present[frame[label >= 0], label[label >= 0]] = True
        found = class_balanced(present, np.random.default_rng([seed, 2]))
        if not len(found):
            raise ValueError("balance: value 'cbgs' with no box in any frame; allowed: none")
        return found

    def label_counts(self) -> list[int]:
        """Boxes of each of DETECTION_CLASSES, without reading a sensor."""
        labels = self.store.numbers("boxes", "label")[self.box_rows()[0]]
        counts: list[int] = np.bincount(
            labels[labels >= 0], minlength=len(DETECTION_CLASSES)
        ).tolist()
        return counts

    def box_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the store's boxes for all frames in order, and the place of the frame of each."""
        first = self.store.numbers("samples", "first_box")[self.samples]
        count = self.store.numbers("samples", "num_boxes")[self.samples]
        frame = np.repeat(np.arange(len(count)), count)
        begin = np.repeat(first - (np.cumsum(count) - count), count)
        return begin + np.arange(len(frame)), frame

    def _files(self, token: str, channels: tuple[str, ...]) -> np.ndarray:
        """Rows of the store's data. ValueError where the tables list no file."""
        columns = [_channel(self.store, name) for name in channels]
        rows = self.store.numbers("samples", "data")[self._place[token]][columns]
        if (rows == NONE).any():
            absent = channels[int(np.flatnonzero(rows == NONE)[0])]
            raise ValueError(f"sample {token}: has no {absent} in {self.root} {self.spec.version}")
        return np.asarray(rows)

    def _path(self, row: int) -> Path:
        return self.root / self.store.text("data", "path", int(row))

    def _poses(self, rows: np.ndarray) -> tuple[Array, Array]:
        """4x4 of sensor -> ego and of ego -> global of files, [N, 4, 4] each."""
        store = self.store
        sensor = store.numbers("data", "calibrated")[rows]
        return (
            pose_matrices(
                store.numbers("calibrated", "translation")[sensor],
                store.numbers("calibrated", "rotation")[sensor],
            ),
            pose_matrices(
                store.numbers("data", "ego_translation")[rows],
                store.numbers("data", "ego_rotation")[rows],
            ),
        )

    def _points(self, row: int, lidar_to_global: Array) -> np.ndarray:
        rows = self._before(row, self.spec.num_sweeps)
        sweeps = [
            LidarSweep(path=path, motion=motion, age_s=age)
            for path, motion, age in self._sweeps(row, rows, lidar_to_global)
        ]
        return merged(self._path(row), sweeps)

    def _radar(self, token: str, lidar_to_global: Array) -> np.ndarray | None:
        if self.spec.radar_sweeps is None:
            return None
        sweeps = []
        for row in map(int, self._files(token, RADARS)):
            rows = np.array([row, *self._before(row, self.spec.radar_sweeps - 1)])
            sweeps += [
                RadarSweep(path=path, to_lidar=motion, age_s=age)
                for path, motion, age in self._sweeps(row, rows, lidar_to_global)
            ]
        return radar_cloud(sweeps)

    def _sweeps(
        self, row: int, rows: np.ndarray, lidar_to_global: Array
    ) -> list[tuple[Path, Array, float]]:
        """Of files: path, 4x4 of the sensor then -> the keyframe's LiDAR, seconds before `row`."""
        sensor_to_ego, ego_to_global = self._poses(rows)
        from_global = np.linalg.inv(lidar_to_global)
        stamps = self.store.numbers("data", "timestamp")
        ages = (float(stamps[row]) - stamps[rows].astype(np.float64)) * 1e-6
        return [
            (self._path(sweep), from_global @ ego @ sensor, float(age))
            for sweep, sensor, ego, age in zip(
                rows, sensor_to_ego, ego_to_global, ages, strict=True
            )
        ]

    def _map(self, token: str) -> MapLayers:
        """The layers of a frame's map, read once."""
        scene = self.store.scenes[self.store.numbers("samples", "scene")[self._place[token]]]
        key = ("map", scene["location"])
        layers = self.cache.get(key)
        if not isinstance(layers, MapLayers):
            path = self.root / "maps" / "expansion" / f"{scene['location']}.json"
            layers = self.cache[key] = MapLayers.read(path)
        return layers

    def _before(self, row: int, count: int) -> np.ndarray:
        """Rows of up to `count` files of the same sensor before one, latest first."""
        previous = self.store.numbers("data", "prev")
        found: list[int] = []
        while len(found) < count and previous[row] != NONE:
            row = int(previous[row])
            found.append(row)
        return np.array(found, dtype=np.int64)

    def _boxes(self, token: str, lidar_to_global: Array) -> dict[str, Any]:
        """The fields of Frame that come from annotations of detection classes."""
        store, sample = self.store, self._place[token]
        first = int(store.numbers("samples", "first_box")[sample])
        count = int(store.numbers("samples", "num_boxes")[sample])
        labels = store.numbers("boxes", "label")[first : first + count]
        rows = first + np.flatnonzero(labels >= 0)
        to_lidar = np.linalg.inv(lidar_to_global)
        turns = to_lidar[:3, :3] @ rotation_matrices(store.numbers("boxes", "rotation")[rows])
        velocity = store.numbers("boxes", "velocity")[rows] @ to_lidar[:3, :3].T
        yaw = np.arctan2(turns[:, 1, 0], turns[:, 0, 0])
        sizes = store.numbers("boxes", "size")[rows][:, [1, 0, 2]]
        center = transform(to_lidar, store.numbers("boxes", "center")[rows])
        names = (*store.attributes, "")
        return {
            "boxes": np.column_stack([center, sizes, yaw, velocity[:, :2]]).reshape(-1, 9),
            "box_rotations": turns,
            "labels": store.numbers("boxes", "label")[rows].astype(np.int64),
            "num_lidar_pts": store.numbers("boxes", "num_lidar_pts")[rows].astype(np.int64),
            "num_radar_pts": store.numbers("boxes", "num_radar_pts")[rows].astype(np.int64),
            "attributes": tuple(names[i] for i in store.numbers("boxes", "attribute")[rows]),
            "tracks": store.numbers("boxes", "instance")[rows].astype(np.int64),
        }


def _channel(store: SampleStore, name: str) -> int:
    if name not in store.channels:
        raise ValueError(f"sensor.json: has no {name}; it has {', '.join(store.channels)}")
    return store.channels.index(name)
