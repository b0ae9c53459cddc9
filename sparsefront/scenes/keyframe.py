"""Keyframes of a sample store: from a row of its samples to a Frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sparsefront.errors import InputError
from sparsefront.scenes.frame import Frame
from sparsefront.scenes.geometry import Array, pose_matrices, rotation_matrices, transform
from sparsefront.scenes.loading.lidar_sweeps import LidarSweep, merge_sweeps
from sparsefront.scenes.maps.raster import MapLayers
from sparsefront.scenes.radar.points import RadarSweep, radar_cloud
from sparsefront.scenes.store.json_table import NONE
from sparsefront.scenes.store.sample_store import SampleStore

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
class KeyframeReader:
    """Reads keyframes. num_sweeps, radar_sweeps and maps as in NuScenesSpec.

    root    folder that the store's paths start from
    layers  maps by location, each read on first use
    """

    root: Path
    store: SampleStore
    num_sweeps: int
    radar_sweeps: int | None
    maps: bool
    layers: dict[str, MapLayers] = field(default_factory=dict)

    def frame(self, sample: int) -> Frame:
        """Reads the keyframe in a row of the store's samples. BadSample naming a bad file."""
        files = self.file_rows(sample, (LIDAR, *CAMERAS))
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
            token=store.text("samples", "token", sample),
            image_paths=tuple(self.path_of(row) for row in cameras),
            image_sizes=np.stack(sizes, axis=1),
            intrinsics=store.numbers("calibrated", "intrinsic")[of_sensor].reshape(-1, 3, 3),
            lidar_to_camera=np.array(to_camera),
            camera_to_ego=sensor_to_ego[1:],
            points=self._points(int(files[0]), lidar_to_global),
            **self._boxes(sample, lidar_to_global),
            lidar_to_global=lidar_to_global,
            ego_to_global=ego_to_global[0],
            radar=self._radar(sample, lidar_to_global),
            map_layers=self._map(sample) if self.maps else None,
        )

    def lidar_to_globals(self, samples: np.ndarray) -> Array:
        """[N, 4, 4] of keyframes, without reading their sensors."""
        rows = self.store.numbers("samples", "data")[samples, _channel(self.store, LIDAR)]
        if (rows == NONE).any():
            self.file_rows(int(samples[rows == NONE][0]), (LIDAR,))  # says which
        sensor_to_ego, ego_to_global = self._poses(rows)
        out: Array = ego_to_global @ sensor_to_ego
        return out

    def file_rows(self, sample: int, channels: tuple[str, ...]) -> np.ndarray:
        """Rows of the store's data, one a channel. InputError where the tables list no file."""
        columns = [_channel(self.store, name) for name in channels]
        rows = self.store.numbers("samples", "data")[sample][columns]
        if (rows == NONE).any():
            absent = channels[int(np.flatnonzero(rows == NONE)[0])]
            token = self.store.text("samples", "token", sample)
            raise InputError(f"sample {token}: has no {absent} in {self.root}")
        return np.asarray(rows)

    def rows_before(self, row: int, count: int) -> np.ndarray:
        """Rows of up to `count` files of the same sensor before one, latest first."""
        previous = self.store.numbers("data", "prev")
        found: list[int] = []
        while len(found) < count and previous[row] != NONE:
            row = int(previous[row])
            found.append(row)
        return np.array(found, dtype=np.int64)

    def path_of(self, row: int) -> Path:
        """The file of a row of the store's data."""
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
        rows = self.rows_before(row, self.num_sweeps)
        sweeps = [
            LidarSweep(path=path, motion=motion, age_s=age)
            for path, motion, age in self._sweeps(row, rows, lidar_to_global)
        ]
        return merge_sweeps(self.path_of(row), sweeps)

    def _radar(self, sample: int, lidar_to_global: Array) -> np.ndarray | None:
        if self.radar_sweeps is None:
            return None
        sweeps = []
        for row in map(int, self.file_rows(sample, RADARS)):
            rows = np.array([row, *self.rows_before(row, self.radar_sweeps - 1)])
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
            (self.path_of(sweep), from_global @ ego @ sensor, float(age))
            for sweep, sensor, ego, age in zip(
                rows, sensor_to_ego, ego_to_global, ages, strict=True
            )
        ]

    def _map(self, sample: int) -> MapLayers:
        """The layers of a frame's map; each map is read once."""
        place = self.store.scenes[self.store.numbers("samples", "scene")[sample]]["location"]
        if place not in self.layers:
            path = self.root / "maps" / "expansion" / f"{place}.json"
            self.layers[place] = MapLayers.read(path)
        return self.layers[place]

    def _boxes(self, sample: int, lidar_to_global: Array) -> dict[str, Any]:
        """The fields of Frame that come from annotations of detection classes."""
        store = self.store
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
        raise InputError(f"sensor.json: has no {name}; it has {', '.join(store.channels)}")
    return store.channels.index(name)
