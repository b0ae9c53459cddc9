"""A made data set on disk in nuScenes format, so that nuscenes-devkit itself reads and scores it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from pyquaternion import Quaternion
from rich.console import Console
from rich.progress import Progress

from scenes.geometry import points_in_box, yaw_matrix
from scenes.procedural.camera import CAMERAS, HEIGHT, WIDTH, camera_to_ego, intrinsics, render
from scenes.procedural.lidar import lidar_to_ego, scan
from scenes.procedural.world import CLUTTER, SIZES, Actor, World, make_world

VERSION = "v1.0-procedural"
KEYFRAME_S = 0.5
START_US = 1_600_000_000_000_000
SCHEMA = 1
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
SENSORS = ("LIDAR_TOP", *CAMERAS)
Rows = dict[str, list[dict[str, object]]]


def make_scenes(
    root: str | Path,
    *,
    num_scenes: int = 40,
    seed: int = 0,
    frames: int = 10,
    workers: int | None = None,
    progress: bool = True,
    val_every: int = 4,
) -> Path:
    """Write a data set to `root`; every `val_every`-th scene is in the split procedural_val.

    Scene i depends only on (seed, i, frames). A root that holds the same set is left as it is; any
    other existing root raises ValueError. Made under a temporary name, then renamed.
    """
    root = Path(os.path.expandvars(str(root)))
    for name, value, low in (("num_scenes", num_scenes, 1), ("frames", frames, 1), ("seed", seed, 0)):
        if value < low:
            raise ValueError(f"{name}: value {value}; allowed: {low} and above")
    recipe = {"schema": SCHEMA, "num_scenes": num_scenes, "seed": seed, "frames": frames, "val_every": val_every}
    if root.exists() and any(root.iterdir()):
        note = root / "procedural.json"
        if note.is_file() and json.loads(note.read_text()) == recipe:
            return root
        raise ValueError(f"root: {root} exists and holds something else; allowed: a new or empty folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        rows = _all_scenes(made, num_scenes, seed, frames, workers, progress)
        _write_tables(made, rows, num_scenes, seed, val_every)
        (made / "procedural.json").write_text(json.dumps(recipe))
        made.chmod(0o755)
        if root.exists():
            root.rmdir()
        made.rename(root)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return root


def _all_scenes(made: Path, num_scenes: int, seed: int, frames: int, workers: int | None, progress: bool) -> list[Rows]:
    for sensor in SENSORS:
        (made / "samples" / sensor).mkdir(parents=True)
    (made / "sweeps" / "LIDAR_TOP").mkdir(parents=True)
    console = Console(stderr=True)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool, Progress(console=console, disable=not progress) as bar:
        task = bar.add_task("making scenes", total=num_scenes)
        found = []
        for rows in pool.map(_scene, *zip(*[(made, seed, i, frames) for i in range(num_scenes)], strict=True)):
            found.append(rows)
            bar.advance(task)
    return found


def _scene(made: Path, seed: int, scene: int, frames: int) -> Rows:
    """Render one scene; its rows of every table."""
    world = make_world(seed, scene, (frames - 1) * KEYFRAME_S)
    random = np.random.default_rng([seed, scene, 1])
    rows: Rows = {name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")}
    actors = [(i, a) for i, a in enumerate(world.actors) if a.name != CLUTTER]
    chains: dict[str, list[dict[str, object]]] = {sensor: [] for sensor in SENSORS}
    for frame in range(frames):
        sample = _token(seed, "sample", scene, frame)
        time_s = frame * KEYFRAME_S
        if frame:
            points = scan(world, time_s - KEYFRAME_S / 2, random)
            _data_row(made, rows, chains, seed, scene, 2 * frame - 1, "LIDAR_TOP", points, world, sample)
        points = scan(world, time_s, random)
        _data_row(made, rows, chains, seed, scene, 2 * frame, "LIDAR_TOP", points, world, sample)
        seen = np.zeros(len(world.actors), int)
        for camera in CAMERAS:
            image, ids = render(world, time_s, camera, random)
            _data_row(made, rows, chains, seed, scene, 2 * frame, camera, image, world, sample)
            seen += np.bincount(ids[ids >= 0], minlength=len(world.actors))
        rows["sample"].append({
            "token": sample, "timestamp": _stamp(scene, 2 * frame), "scene_token": _token(seed, "scene", scene),
            "prev": _token(seed, "sample", scene, frame - 1) if frame else "",
            "next": _token(seed, "sample", scene, frame + 1) if frame + 1 < frames else "",
        })  # fmt: skip
        in_world = _to_world(points, world, time_s)
        for index, actor in actors:
            rows["sample_annotation"].append(
                _annotation(actor, index, seed, scene, frame, frames, time_s, in_world, seen[index]))
    for chain in chains.values():
        for before, after in zip(chain, chain[1:], strict=False):
            before["next"], after["prev"] = after["token"], before["token"]
    for index, actor in actors:
        rows["instance"].append({
            "token": _token(seed, "instance", scene, index),
            "category_token": _token(0, "category", CATEGORIES[actor.name]), "nbr_annotations": frames,
            "first_annotation_token": _token(seed, "annotation", scene, index, 0),
            "last_annotation_token": _token(seed, "annotation", scene, index, frames - 1),
        })  # fmt: skip
    rows["scene"].append({
        "token": _token(seed, "scene", scene), "log_token": _token(seed, "log"), "nbr_samples": frames,
        "first_sample_token": _token(seed, "sample", scene, 0),
        "last_sample_token": _token(seed, "sample", scene, frames - 1),
        "name": _scene_name(seed, scene), "description": "Procedural street scene",
    })  # fmt: skip
    return rows


def _data_row(made, rows, chains, seed, scene, tick, sensor, data, world, sample) -> None:
    """Write one file and append its sample_data and ego_pose rows. A tick is 0.25 s."""
    token = _token(seed, "data", scene, sensor, tick)
    key = tick % 2 == 0
    lidar = sensor == "LIDAR_TOP"
    ending = "pcd.bin" if lidar else "jpg"
    name = f"{'samples' if key else 'sweeps'}/{sensor}/{_scene_name(seed, scene)}__{sensor}__{tick:03d}.{ending}"
    if lidar:
        data.tofile(made / name)
    else:
        Image.fromarray(data).save(made / name, quality=92)
    pose = world.ego_pose(tick * KEYFRAME_S / 2)
    row = {
        "token": token, "sample_token": sample, "ego_pose_token": token,
        "calibrated_sensor_token": _token(seed, "calibration", sensor), "timestamp": _stamp(scene, tick),
        "fileformat": "pcd" if lidar else "jpg", "is_key_frame": key, "height": 0 if lidar else HEIGHT,
        "width": 0 if lidar else WIDTH, "filename": name, "prev": "", "next": "",
    }  # fmt: skip
    rows["sample_data"].append(row)
    chains[sensor].append(row)
    rows["ego_pose"].append({"token": token, "timestamp": _stamp(scene, tick), **_pose(pose)})


def _annotation(actor: Actor, index, seed, scene, frame, frames, time_s, points, pixels) -> dict[str, object]:
    center = actor.at(time_s)
    inside = points_in_box(points, center, actor.size, yaw_matrix(actor.yaw))
    visibility = 1 + int(np.searchsorted([40, 200, 800], pixels))
    attribute = _attribute(actor)
    return {
        "token": _token(seed, "annotation", scene, index, frame),
        "sample_token": _token(seed, "sample", scene, frame),
        "instance_token": _token(seed, "instance", scene, index),
        "visibility_token": str(visibility),
        "attribute_tokens": [_token(0, "attribute", attribute)] if attribute else [],
        "translation": center.tolist(),
        "size": [actor.size[1], actor.size[0], actor.size[2]],
        "rotation": Quaternion(axis=[0, 0, 1], radians=actor.yaw).elements.tolist(),
        "prev": _token(seed, "annotation", scene, index, frame - 1) if frame else "",
        "next": _token(seed, "annotation", scene, index, frame + 1) if frame + 1 < frames else "",
        "num_lidar_pts": int(inside.sum()), "num_radar_pts": 0,
    }  # fmt: skip


def _attribute(actor: Actor) -> str:
    moving = bool(actor.velocity.any())
    if actor.name in ("barrier", "traffic_cone"):
        return ""
    if actor.name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if actor.name in ("motorcycle", "bicycle"):
        return "cycle.with_rider" if moving else "cycle.without_rider"
    return "vehicle.moving" if moving else "vehicle.parked"


def _write_tables(made: Path, scenes: list[Rows], num_scenes: int, seed: int, val_every: int) -> None:
    tables: Rows = {name: [row for rows in scenes for row in rows[name]] for name in scenes[0]}
    tables["category"] = [{"token": _token(0, "category", c), "name": c, "description": ""} for c in CATEGORIES.values()]
    tables["attribute"] = [{"token": _token(0, "attribute", a), "name": a, "description": ""} for a in ATTRIBUTES]
    tables["visibility"] = [
        {"token": str(i + 1), "level": level, "description": ""}
        for i, level in enumerate(["v0-40", "v40-60", "v60-80", "v80-100"])
    ]
    tables["sensor"] = [
        {"token": _token(0, "sensor", s), "channel": s, "modality": "lidar" if s == "LIDAR_TOP" else "camera"}
        for s in SENSORS
    ]
    tables["calibrated_sensor"] = [
        {"token": _token(seed, "calibration", s), "sensor_token": _token(0, "sensor", s),
         **_pose(lidar_to_ego() if s == "LIDAR_TOP" else camera_to_ego(s)),
         "camera_intrinsic": [] if s == "LIDAR_TOP" else intrinsics(s).tolist()}
        for s in SENSORS
    ]  # fmt: skip
    tables["log"] = [{"token": _token(seed, "log"), "logfile": "procedural", "vehicle": "procedural",
                      "date_captured": "2020-09-13", "location": "singapore-onenorth"}]  # fmt: skip
    tables["map"] = [{"token": _token(seed, "map"), "log_tokens": [_token(seed, "log")],
                      "category": "semantic_prior", "filename": "maps/procedural.png"}]  # fmt: skip
    (made / "maps").mkdir()
    Image.fromarray(np.full((200, 200), 255, np.uint8)).save(made / "maps" / "procedural.png")
    folder = made / VERSION
    folder.mkdir()
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    names = [_scene_name(seed, i) for i in range(num_scenes)]
    val = names[val_every - 1 :: val_every]
    splits = {"procedural_train": [n for n in names if n not in val], "procedural_val": val}
    (folder / "splits.json").write_text(json.dumps(splits))


def _scene_name(seed: int, scene: int) -> str:
    return f"made-{seed}-{scene:04d}"


def _token(seed: int, *parts: object) -> str:
    return hashlib.md5(f"{seed}/{'/'.join(map(str, parts))}".encode(), usedforsecurity=False).hexdigest()


def _stamp(scene: int, tick: int) -> int:
    return START_US + scene * 100_000_000 + int(tick * KEYFRAME_S / 2 * 1e6)


def _pose(matrix: np.ndarray) -> dict[str, list[float]]:
    return {"translation": matrix[:3, 3].tolist(), "rotation": Quaternion(matrix=matrix).elements.tolist()}


def _to_world(points: np.ndarray, world: World, time_s: float) -> np.ndarray:
    pose = world.ego_pose(time_s) @ lidar_to_ego()
    return points[:, :3].astype(float) @ pose[:3, :3].T + pose[:3, 3]
