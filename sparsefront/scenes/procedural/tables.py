"""Names, tokens and those tables of a synthetic data set that belong to no scene."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image
from pyquaternion import Quaternion

from sparsefront.scenes.procedural.camera import CAMERAS, camera_to_ego, intrinsics
from sparsefront.scenes.procedural.lidar import lidar_to_ego
from sparsefront.scenes.procedural.radar import RADARS, radar_to_ego

VERSION = "v1.0-procedural"
CATEGORIES = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "construction_vehicle": "vehicle.construction",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "barrier": "movable_object.barrier",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
}
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider",
    "cycle.without_rider", "pedestrian.sitting_lying_down", "pedestrian.standing",
    "pedestrian.moving",
)  # fmt: skip
SENSORS = ("LIDAR_TOP", *CAMERAS, *RADARS)
SWEEPS = ("LIDAR_TOP", *RADARS)
"""Sensors that also measure between keyframes."""
LOCATION = "singapore-onenorth"
"""The devkit knows four maps by name; synthetic data take this one's."""
Rows = dict[str, list[dict[str, object]]]


def write_tables(
    root: Path, scenes: list[Rows], num_scenes: int, seed: int, val_every: int
) -> None:
    """All 13 tables, the map mask (everything drivable, as it is) and splits.json."""
    tables: Rows = {name: [row for rows in scenes for row in rows[name]] for name in scenes[0]}
    tables["category"] = [
        {"token": token(0, "category", c), "name": c, "description": ""}
        for c in CATEGORIES.values()
    ]
    tables["attribute"] = [
        {"token": token(0, "attribute", a), "name": a, "description": ""} for a in ATTRIBUTES
    ]
    tables["visibility"] = [
        {"token": str(i + 1), "level": level, "description": ""}
        for i, level in enumerate(["v0-40", "v40-60", "v60-80", "v80-100"])
    ]
    tables["sensor"] = [
        {"token": token(0, "sensor", s), "channel": s, "modality": _modality(s)} for s in SENSORS
    ]
    tables["calibrated_sensor"] = [
        {"token": token(seed, "calibration", s), "sensor_token": token(0, "sensor", s),
         **pose_row(_to_ego(s)),
         "camera_intrinsic": intrinsics(s).tolist() if s in CAMERAS else []}
        for s in SENSORS
    ]  # fmt: skip
    tables["log"] = [{"token": token(seed, "log"), "logfile": "procedural", "vehicle": "procedural",
                      "date_captured": "2020-09-13", "location": LOCATION}]  # fmt: skip
    tables["map"] = [{"token": token(seed, "map"), "log_tokens": [token(seed, "log")],
                      "category": "semantic_prior", "filename": "maps/procedural.png"}]  # fmt: skip
    (root / "maps").mkdir()
    Image.fromarray(np.full((200, 200), 255, np.uint8)).save(root / "maps" / "procedural.png")
    folder = root / VERSION
    folder.mkdir()
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    names = [scene_name(seed, i) for i in range(num_scenes)]
    val = names[val_every - 1 :: val_every]
    splits = {"procedural_train": [n for n in names if n not in val], "procedural_val": val}
    (folder / "splits.json").write_text(json.dumps(splits))


def _modality(sensor: str) -> str:
    return "camera" if sensor in CAMERAS else "radar" if sensor in RADARS else "lidar"


def _to_ego(sensor: str) -> np.ndarray:
    if sensor in CAMERAS:
        return camera_to_ego(sensor)
    return radar_to_ego(sensor) if sensor in RADARS else lidar_to_ego()


def scene_name(seed: int, scene: int) -> str:
    """Name of a scene, as splits.json lists it."""
    return f"made-{seed}-{scene:04d}"


def token(seed: int, *parts: object) -> str:
    """nuScenes token: the same for the same parts."""
    return hashlib.md5(
        f"{seed}/{'/'.join(map(str, parts))}".encode(), usedforsecurity=False
    ).hexdigest()


def pose_row(matrix: np.ndarray) -> dict[str, list[float]]:
    """4x4 pose as a table's translation and rotation (w, x, y, z)."""
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": Quaternion(matrix=matrix).elements.tolist(),
    }
