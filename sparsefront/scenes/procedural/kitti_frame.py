"""One synthetic KITTI frame: image, scan, calibration and labels of the object benchmark."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from sparsefront.scenes.geometry import transform
from sparsefront.scenes.kitti_geometry import clip_to_image, image_boxes, observed_angle, wrap_angle
from sparsefront.scenes.procedural.camera import pixel_rays, render_rays
from sparsefront.scenes.procedural.kitti_world import make_kitti_world
from sparsefront.scenes.procedural.lidar import Scanner, lidar_to_ego, scan
from sparsefront.scenes.procedural.raycast import cast
from sparsefront.scenes.procedural.world import Actor, World

WIDTH, HEIGHT = 1242, 375
INTRINSICS = np.array([[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]])
SHIFT_M = 0.06
"""The colour camera stands this much to the left of camera 0, whose frame the labels are in."""
SCANNER = Scanner(
    beams=64, azimuths=1440, elevation_deg=(-24.8, 2.0), position=(0.0, 0.0, 1.73)
)  # fmt: skip
VELO_TO_CAM = np.array([[0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1.0]])
KINDS = {"car": "Car", "truck": "Truck", "pedestrian": "Pedestrian", "bicycle": "Cyclist"}
"""What is labelled; barriers and cones have no label in KITTI."""
LABELLED_M = 50.0
VISIBLE = (0.85, 0.5, 0.1)
"""Least visible share of an object for occlusion 0, 1 and 2; below it is 3 (unknown)."""
FOLDERS = ("image_2", "velodyne", "calib", "label_2")


def write_frame(folder: Path, seed: int, frame: int) -> None:
    """Writes frame number `frame` under folder (training); it depends only on seed and frame."""
    world = make_kitti_world(seed, frame)
    random = np.random.default_rng([seed, frame, 3])
    camera = camera_to_world(world)
    colors, seen = render_rays(world, 0.0, camera, _rays(), random)
    name = f"{frame:06d}"
    pixels = colors.reshape(HEIGHT, WIDTH, 3)
    Image.fromarray(pixels).save(folder / "image_2" / f"{name}.png", compress_level=1)
    velodyne_points(world, random).tofile(folder / "velodyne" / f"{name}.bin")
    (folder / "calib" / f"{name}.txt").write_text(calibration_text())
    lines = label_lines(world, camera, seen.reshape(HEIGHT, WIDTH))
    (folder / "label_2" / f"{name}.txt").write_text("".join(f"{x}\n" for x in lines))


def velodyne_points(world: World, random: np.random.Generator) -> np.ndarray:
    """[P, 4] float32: x ahead, y left, z up (m), reflectance 0..1."""
    points = scan(world, 0.0, random, SCANNER)
    return np.column_stack([points[:, 1], -points[:, 0], points[:, 2], points[:, 3] / 255]).astype(
        np.float32
    )


def projection() -> np.ndarray:
    """3x4 of camera 0's rectified frame -> pixels of image_2 (P2)."""
    return INTRINSICS @ np.column_stack([np.eye(3), [SHIFT_M, 0, 0]])


def calibration_text() -> str:
    """The lines of a calibration file; the left pair of cameras and the right have one P each."""
    plain = INTRINSICS @ np.eye(3, 4)
    matrices = {
        "P0": plain, "P1": plain, "P2": projection(), "P3": plain, "R0_rect": np.eye(3),
        "Tr_velo_to_cam": VELO_TO_CAM[:3], "Tr_imu_to_velo": np.eye(3, 4),
    }  # fmt: skip
    rows = (f"{k}: {' '.join(f'{v:.12e}' for v in m.ravel())}\n" for k, m in matrices.items())
    return "".join(rows)


def world_to_camera(world: World) -> np.ndarray:
    """4x4 of the world at time 0 -> camera 0's rectified frame."""
    ours_to_velo = np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    lidar = np.linalg.inv(world.ego_pose(0.0) @ lidar_to_ego(SCANNER))
    out: np.ndarray = VELO_TO_CAM @ ours_to_velo @ lidar
    return out


def camera_to_world(world: World) -> np.ndarray:
    """4x4 of the colour camera's frame -> world."""
    shift = np.eye(4)
    shift[0, 3] = SHIFT_M
    out: np.ndarray = np.linalg.inv(shift @ world_to_camera(world))
    return out


def label_lines(world: World, camera: np.ndarray, seen: np.ndarray) -> list[str]:
    """Lines of a label file, DontCare last; seen [H, W]: the actor at each pixel."""
    found, regions = [], []
    to_camera = world_to_camera(world)
    for index, actor in enumerate(world.actors):
        visible = int((seen == index).sum())
        if actor.name not in KINDS or visible == 0:
            continue
        size, bottom, turn = _to_camera(actor, to_camera)
        whole = image_boxes(size, bottom, turn, projection())
        box = clip_to_image(whole, WIDTH, HEIGHT)[0]
        if bottom[0, 2] > LABELLED_M:
            regions.append(_line("DontCare", -1, -1, -10, box, [-1] * 3, [-1000] * 3, -10))
            continue
        alone = _pixels_alone(world, index, camera, box)
        occluded = sum(visible < share * alone for share in VISIBLE)
        truncated = 1 - float(_area(box) / _area(whole[0]))
        alpha = float(observed_angle(turn, bottom)[0])
        found.append(
            _line(KINDS[actor.name], truncated, occluded, alpha, box, size[0], bottom[0], turn[0])
        )
    return found + regions


def _to_camera(actor: Actor, to_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size [1, 3] (height, width, length), bottom [1, 3] and turn [1] in the camera frame."""
    length, width, height = actor.size
    low = actor.center - [0, 0, height / 2]
    ahead = to_camera[:3, :3] @ [np.cos(actor.yaw), np.sin(actor.yaw), 0]
    turn = wrap_angle(np.array([np.arctan2(-ahead[2], ahead[0])]))
    return np.array([[height, width, length]]), transform(to_camera, low[None]), turn


def _pixels_alone(world: World, index: int, camera: np.ndarray, box: np.ndarray) -> int:
    """How many pixels of its image box the actor would fill with nothing before it."""
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int) + 1
    rays = _rays().reshape(HEIGHT, WIDTH, 3)[top:bottom, left:right].reshape(-1, 3)
    only = replace(world, actors=(world.actors[index],))
    return int((cast(only, 0.0, camera[:3, 3], rays @ camera[:3, :3].T).actor == 0).sum())


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:] - box[:2]))


def _line(kind: str, truncated: float, occluded: int, alpha: float, *rest: object) -> str:
    numbers = " ".join(f"{v:.2f}" for part in rest for v in np.atleast_1d(np.asarray(part)))
    return f"{kind} {truncated:.2f} {occluded} {alpha:.2f} {numbers}"


@lru_cache
def _rays() -> np.ndarray:
    return pixel_rays(INTRINSICS, WIDTH, HEIGHT)
