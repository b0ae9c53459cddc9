"""Renders one synthetic scene: writes its files, returns its rows of the nuScenes tables."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pyquaternion import Quaternion

from sparsefront.scenes.geometry import points_in_box, yaw_matrix
from sparsefront.scenes.procedural.camera import CAMERAS, HEIGHT, WIDTH, render
from sparsefront.scenes.procedural.lidar import lidar_to_ego, scan
from sparsefront.scenes.procedural.radar import RADARS, radar_scan, radar_to_ego
from sparsefront.scenes.procedural.tables import (
    CATEGORIES,
    SENSORS,
    Rows,
    pose_row,
    scene_name,
    token,
)
from sparsefront.scenes.procedural.world import CLUTTER, Actor, make_world
from sparsefront.scenes.radar.file import write_radar

KEYFRAME_S = 0.5
TICK_S = KEYFRAME_S / 2  # one LiDAR and one radar sweep between two keyframes
START_US = 1_600_000_000_000_000
TABLES = ("scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")


@dataclass(frozen=True, kw_only=True)
class SyntheticScene:
    """Rows of every table, and shapes by layer of the map expansion (none without a street)."""

    rows: Rows
    layers: dict[str, list[Any]]


def write_scene(root: Path, seed: int, scene: int, frames: int, street_map: bool) -> SyntheticScene:
    """Renders scene number `scene` into the data root `root`."""
    writer = SceneWriter(root, seed, scene, frames, street_map)
    street = writer.world.street
    return SyntheticScene(rows=writer.write(), layers={} if street is None else street.layers)


class SceneWriter:
    """The state that the rows of one scene share."""

    def __init__(self, root: Path, seed: int, scene: int, frames: int, street_map: bool) -> None:
        self.root, self.seed, self.scene, self.frames = root, seed, scene, frames
        self.world = make_world(seed, scene, (frames - 1) * KEYFRAME_S, street_map)
        self.random = np.random.default_rng([seed, scene, 1])
        self.radar_random = np.random.default_rng([seed, scene, 2])  # the others' stay as they are
        self.actors = [(i, a) for i, a in enumerate(self.world.actors) if a.name != CLUTTER]
        self.rows: Rows = {name: [] for name in TABLES}
        self.chains: dict[str, list[dict[str, object]]] = {sensor: [] for sensor in SENSORS}

    def write(self) -> Rows:
        for frame in range(self.frames):
            self._frame(frame)
        for chain in self.chains.values():
            for before, after in pairwise(chain):
                before["next"], after["prev"] = after["token"], before["token"]
        self._instances()
        self._scene()
        return self.rows

    def _frame(self, frame: int) -> None:
        """A keyframe of all sensors, after the sweep that leads up to it."""
        time_s = frame * KEYFRAME_S
        if frame:
            sweep = scan(self.world, time_s - TICK_S, self.random)
            self._sensor_data(frame, 2 * frame - 1, "LIDAR_TOP", sweep)
            self._radars(frame, 2 * frame - 1, hidden=[])
        points = scan(self.world, time_s, self.random)
        self._sensor_data(frame, 2 * frame, "LIDAR_TOP", points)
        seen = np.zeros(len(self.world.actors), int)  # pixels of each actor, all cameras
        for camera in CAMERAS:
            image, ids = render(self.world, time_s, camera, self.random)
            self._sensor_data(frame, 2 * frame, camera, image)
            seen += np.bincount(ids[ids >= 0], minlength=len(self.world.actors))
        self.rows["sample"].append({
            "token": self._token("sample", frame), "timestamp": self._stamp(2 * frame),
            "scene_token": self._token("scene"), **self._neighbours("sample", frame),
        })  # fmt: skip
        in_world = self._to_world(points, time_s, lidar_to_ego())
        lidar_pts = [_points_on(actor, in_world, time_s) for _, actor in self.actors]
        counted = zip(self.actors, lidar_pts, strict=True)
        radar = self._radars(frame, 2 * frame, [actor for (_, actor), n in counted if not n])
        for (index, actor), count in zip(self.actors, lidar_pts, strict=True):
            row = self._annotation(actor, index, frame, int(seen[index]))
            row |= {"translation": actor.at(time_s).tolist(), "num_lidar_pts": count,
                    "num_radar_pts": _points_on(actor, radar, time_s)}  # fmt: skip
            self.rows["sample_annotation"].append(row)

    def _radars(self, frame: int, tick: int, hidden: list[Actor]) -> np.ndarray:
        """Writes a scan of every radar; their points [P, 3] in the world.

        None lie on hidden actors: the devkit scores boxes that any point hit, LiDAR's or radar's,
        and radar is to leave that choice as it is.
        """
        clouds = []
        for name in RADARS:
            time_s, to_ego = tick * TICK_S, radar_to_ego(name)
            found = radar_scan(self.world, time_s, name, self.radar_random)
            for actor in hidden:
                found = found[~_inside(actor, self._to_world(found, time_s, to_ego), time_s)]
            self._sensor_data(frame, tick, name, found)
            clouds.append(self._to_world(found, time_s, to_ego))
        return np.concatenate(clouds)

    def _sensor_data(self, frame: int, tick: int, sensor: str, data: np.ndarray) -> None:
        """Writes one file and appends its sample_data and ego_pose rows."""
        key, image = tick % 2 == 0, sensor in CAMERAS
        ending = ".jpg" if image else ".pcd" if sensor in RADARS else ".pcd.bin"
        folder = f"{'samples' if key else 'sweeps'}/{sensor}"
        stem = f"{scene_name(self.seed, self.scene)}__{sensor}__{tick:03d}"
        name = f"{folder}/{stem}{ending}"
        if image:
            Image.fromarray(data).save(self.root / name, quality=92)
        elif sensor in RADARS:
            write_radar(self.root / name, data)
        else:
            data.tofile(self.root / name)
        own = token(self.seed, "data", self.scene, sensor, tick)
        row: dict[str, object] = {
            "token": own, "sample_token": self._token("sample", frame), "ego_pose_token": own,
            "calibrated_sensor_token": token(self.seed, "calibration", sensor),
            "timestamp": self._stamp(tick), "fileformat": "jpg" if image else "pcd",
            "is_key_frame": key, "height": HEIGHT if image else 0, "width": WIDTH if image else 0,
            "filename": name, "prev": "", "next": "",
        }  # fmt: skip
        self.rows["sample_data"].append(row)
        self.chains[sensor].append(row)
        pose = pose_row(self.world.ego_pose(tick * TICK_S))
        self.rows["ego_pose"].append({"token": own, "timestamp": self._stamp(tick), **pose})

    def _annotation(self, actor: Actor, index: int, frame: int, pixels: int) -> dict[str, object]:
        attribute = _attribute(actor)
        return {
            "token": self._token("annotation", index, frame),
            "sample_token": self._token("sample", frame),
            "instance_token": self._token("instance", index),
            "visibility_token": str(1 + int(np.searchsorted([40, 200, 800], pixels))),
            "attribute_tokens": [token(0, "attribute", attribute)] if attribute else [],
            "size": [actor.size[1], actor.size[0], actor.size[2]],
            "rotation": Quaternion(axis=[0, 0, 1], radians=actor.yaw).elements.tolist(),
            **self._neighbours("annotation", index, frame),
        }  # fmt: skip

    def _instances(self) -> None:
        for index, actor in self.actors:
            self.rows["instance"].append({
                "token": self._token("instance", index),
                "category_token": token(0, "category", CATEGORIES[actor.name]),
                "nbr_annotations": self.frames,
                "first_annotation_token": self._token("annotation", index, 0),
                "last_annotation_token": self._token("annotation", index, self.frames - 1),
            })  # fmt: skip

    def _scene(self) -> None:
        self.rows["scene"].append({
            "token": self._token("scene"), "log_token": token(self.seed, "log"),
            "nbr_samples": self.frames, "first_sample_token": self._token("sample", 0),
            "last_sample_token": self._token("sample", self.frames - 1),
            "name": scene_name(self.seed, self.scene), "description": "Procedural street scene",
        })  # fmt: skip

    def _token(self, kind: str, *parts: object) -> str:
        return token(self.seed, kind, self.scene, *parts)

    def _neighbours(self, kind: str, *parts: int) -> dict[str, str]:
        """Tokens of the same thing one keyframe before and after; the last part is the frame."""
        *rest, frame = parts
        after = frame + 1 < self.frames
        return {
            "prev": self._token(kind, *rest, frame - 1) if frame else "",
            "next": self._token(kind, *rest, frame + 1) if after else "",
        }

    def _stamp(self, tick: int) -> int:
        return START_US + self.scene * 100_000_000 + int(tick * TICK_S * 1e6)

    def _to_world(self, points: np.ndarray, time_s: float, to_ego: np.ndarray) -> np.ndarray:
        pose = self.world.ego_pose(time_s) @ to_ego
        moved: np.ndarray = points[:, :3].astype(float) @ pose[:3, :3].T + pose[:3, 3]
        return moved


def _inside(actor: Actor, points: np.ndarray, time_s: float) -> np.ndarray:
    return points_in_box(points, actor.at(time_s), actor.size, yaw_matrix(actor.yaw))


def _points_on(actor: Actor, points: np.ndarray, time_s: float) -> int:
    return int(_inside(actor, points, time_s).sum())


def _attribute(actor: Actor) -> str:
    moving = bool(actor.velocity.any())
    if actor.name in ("barrier", "traffic_cone"):
        return ""
    if actor.name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if actor.name in ("motorcycle", "bicycle"):
        return "cycle.with_rider" if moving else "cycle.without_rider"
    return "vehicle.moving" if moving else "vehicle.parked"
