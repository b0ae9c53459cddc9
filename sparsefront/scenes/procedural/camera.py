"""Camera images of a synthetic world: textured, shaded, with sky, ground and noise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sparsefront.scenes.procedural.paint import COLORS, PLAIN
from sparsefront.scenes.procedural.raycast import GROUND, Hits, cast
from sparsefront.scenes.procedural.world import Actor, World

WIDTH, HEIGHT = 400, 225
# name: yaw of the optical axis from ego forward (deg), position in the ego frame (m), field of view
# (deg), as on nuScenes' cars
CAMERAS: dict[str, tuple[float, tuple[float, float, float], float]] = {
    "CAM_FRONT": (0.0, (1.7, 0.0, 1.51), 70.0),
    "CAM_FRONT_RIGHT": (-55.0, (1.55, -0.49, 1.5), 70.0),
    "CAM_FRONT_LEFT": (55.0, (1.52, 0.49, 1.51), 70.0),
    "CAM_BACK": (180.0, (0.03, 0.0, 1.57), 110.0),
    "CAM_BACK_LEFT": (108.0, (1.03, 0.48, 1.56), 70.0),
    "CAM_BACK_RIGHT": (-110.0, (1.01, -0.48, 1.56), 70.0),
}
WHITE, ORANGE, YELLOW, BLACK = (235, 235, 235), (240, 110, 20), (245, 190, 20), (25, 25, 28)


def intrinsics(name: str) -> np.ndarray:
    """3x3 pinhole matrix in pixels."""
    focal = WIDTH / 2 / np.tan(np.radians(CAMERAS[name][2] / 2))
    return np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])


def camera_to_ego(name: str) -> np.ndarray:
    """4x4 camera (x right, y down, z forward) -> ego (x forward, y left, z up)."""
    yaw = np.radians(CAMERAS[name][0])
    pose = np.eye(4)
    pose[:3, 2] = [np.cos(yaw), np.sin(yaw), 0]
    pose[:3, 0] = [np.sin(yaw), -np.cos(yaw), 0]
    pose[:3, 1] = [0, 0, -1]
    pose[:3, 3] = CAMERAS[name][1]
    return pose


def pixel_rays(matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Unit vectors [H W, 3] in the camera frame through the pixels' centres, row by row."""
    v, u = np.mgrid[0:height, 0:width] + 0.5
    rays = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], 1) @ np.linalg.inv(matrix).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


@lru_cache
def _pixel_rays(name: str) -> np.ndarray:
    return pixel_rays(intrinsics(name), WIDTH, HEIGHT)


def render(
    world: World, time_s: float, name: str, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Image [H, W, 3] uint8 and the actor seen at each pixel [H, W] (negative: ground or sky)."""
    pose = world.ego_pose(time_s) @ camera_to_ego(name)
    color, actor = render_rays(world, time_s, pose, _pixel_rays(name), random)
    return color.reshape(HEIGHT, WIDTH, 3), actor.reshape(HEIGHT, WIDTH)


def render_rays(
    world: World, time_s: float, pose: np.ndarray, rays: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [R, 3] uint8 and actors [R] of rays [R, 3] in a camera's frame; pose 4x4 camera ->
    world.
    """
    rays = rays @ pose[:3, :3].T
    hits = cast(world, time_s, pose[:3, 3], rays)
    color = _background(world, rays, hits, pose[:3, 3])
    for index in np.unique(hits.actor[hits.actor >= 0]):
        seen = hits.actor == index
        color[seen] = _paint_actor(world.actors[index], hits.local[seen])
    solid = hits.actor != -2
    light = 0.45 + 0.55 * np.clip(hits.normal @ world.sun, 0, 1)
    color[solid] *= light[solid, None]
    haze = np.exp(-np.where(np.isinf(hits.distance), 0, hits.distance) / 150)[:, None]
    color = color * haze + (1 - haze) * 170
    color = color * world.exposure + random.normal(0, 4, color.shape)
    return color.clip(0, 255).astype(np.uint8), hits.actor


def _background(world: World, rays: np.ndarray, hits: Hits, origin: np.ndarray) -> np.ndarray:
    up = np.clip(rays[:, 2:], 0, 1)
    color = (1 - up) * np.array([190, 205, 220]) + up * np.array([90, 140, 215])
    ground = hits.actor == GROUND
    at = origin[:2] + rays[ground, :2] * hits.distance[ground, None]
    grain = np.sin(at[:, 0] * 1.7) * np.sin(at[:, 1] * 1.3) + 0.5 * np.sin(
        at[:, 0] * 0.31 + at[:, 1] * 0.23
    )
    plain = np.broadcast_to(world.ground, at.shape[:1] + (3,))
    if world.street is not None:
        label = world.street.paint.at(at)[:, None]
        plain = np.where(label == PLAIN, plain, COLORS[label[:, 0]])
    color[ground] = plain + 7 * grain[:, None]
    return color


def _paint_actor(actor: Actor, local: np.ndarray) -> np.ndarray:
    """Colour [R, 3] of hits at local positions (fractions of the box)."""
    x, y, z = local.T.astype(float)
    own = np.broadcast_to(actor.color, local.shape)

    def choose(mask: np.ndarray, color: tuple[int, int, int], other: np.ndarray) -> np.ndarray:
        return np.where(mask[:, None], np.array(color, float), other)

    stripes = (np.floor((x * actor.size[0] + z * actor.size[2] + y * actor.size[1]) / 0.5) % 2) == 0
    name = actor.name
    if name == "car":
        return choose(z > 0.12, (35, 45, 60), own)
    if name == "truck":
        cab = x > 0.21
        return choose(cab & (z > 0.05), (35, 45, 60), own)
    if name == "construction_vehicle":
        return choose(stripes & (z < 0.1), BLACK, np.broadcast_to(YELLOW, local.shape))
    if name == "bus":
        windows = (z > 0.05) & (z < 0.33) & (np.floor(x * actor.size[0] / 1.2) % 5 != 0)
        return choose(windows, (30, 40, 55), own)
    if name == "trailer":
        grey = np.full(3, 150.0) + (actor.color - 130) * 0.15
        return choose(z < -0.36, BLACK, np.broadcast_to(grey, local.shape))
    if name == "barrier":
        return choose(
            np.floor(y * actor.size[1] / 0.3) % 2 == 0, ORANGE, np.broadcast_to(WHITE, local.shape)
        )
    if name == "traffic_cone":
        return choose(
            (np.floor((z + 0.5) * 5) % 2 == 0), ORANGE, np.broadcast_to(WHITE, local.shape)
        )
    if name == "motorcycle":
        return choose(z > 0.1, (150, 20, 25), np.broadcast_to(BLACK, local.shape))
    if name == "bicycle":
        return choose(z > 0.1, (60, 230, 220), np.broadcast_to((90, 250, 90), local.shape))
    if name == "pedestrian":
        legs = choose(z < -0.1, (40, 45, 90), own)
        return choose(z > 0.3, (205, 160, 130), legs)
    brick = (np.floor((z + 0.5) * actor.size[2] / 0.4) % 2)[:, None]
    return own * 0.4 + 70 + 14 * brick
