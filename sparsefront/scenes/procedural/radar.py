"""Returns of a synthetic world's five radars, in the fields of nuScenes' radar files.

A radar sees the nearest surface of every 2.5 degrees at its own height; it measures range, angle
and the speed along its ray, so velocities are that share of the true one.
"""

from __future__ import annotations

import numpy as np

from sparsefront.scenes.procedural.raycast import Hits, cast
from sparsefront.scenes.procedural.world import World
from sparsefront.scenes.radar.file import FIELDS

# name: yaw from ego forward (deg), position in the ego frame (m), as on nuScenes' cars
RADARS: dict[str, tuple[float, tuple[float, float, float]]] = {
    "RADAR_FRONT": (0.0, (3.41, 0.0, 0.5)),
    "RADAR_FRONT_LEFT": (90.0, (2.42, 0.8, 0.77)),
    "RADAR_FRONT_RIGHT": (-90.0, (2.42, -0.8, 0.77)),
    "RADAR_BACK_LEFT": (175.0, (-0.56, 0.62, 0.53)),
    "RADAR_BACK_RIGHT": (-175.0, (-0.56, -0.62, 0.53)),
}
RCS_DBSM = {
    "car": 10.0, "truck": 18.0, "construction_vehicle": 18.0, "bus": 21.0, "trailer": 21.0,
    "barrier": 5.0, "motorcycle": 3.0, "bicycle": 0.0, "pedestrian": -3.0, "traffic_cone": -5.0,
    "clutter": 8.0,
}  # fmt: skip
RAYS_DEG = np.arange(-60.0, 60.1, 2.5)
MAX_RANGE_M, FADE_RANGE_M = 70.0, 55.0
RANGE_NOISE_M, DEPTH_M, ANGLE_NOISE_DEG, SPEED_NOISE = 0.1, 0.25, 0.4, 0.1
"""DEPTH_M: returns come from a little behind the surface."""
GHOSTS = 2.0
"""Mean number of returns from nowhere in a scan."""
SLOW = 0.2
"""Below this speed (m/s) a thing is stationary."""


def radar_to_ego(name: str) -> np.ndarray:
    """4x4 radar (x forward, y left) -> ego."""
    yaw, place = np.radians(RADARS[name][0]), RADARS[name][1]
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = place
    return pose


def radar_scan(world: World, time_s: float, name: str, random: np.random.Generator) -> np.ndarray:
    """[P, 18] float32 in the radar's frame, in the order of FIELDS; z is 0, as it measures none."""
    pose = world.ego_pose(time_s) @ radar_to_ego(name)
    angle = np.radians(RAYS_DEG + random.uniform(-1, 1, len(RAYS_DEG)))
    local = np.stack([np.cos(angle), np.sin(angle), np.zeros(len(angle))], axis=1)
    hits = cast(world, time_s, pose[:3, 3], local @ pose[:3, :3].T)
    sight = _returning_rays(world, hits, random)
    actors = [world.actors[i] for i in hits.actor[sight]]
    actual = np.array([a.velocity for a in actors]).reshape(-1, 2) @ pose[:2, :2]
    rcs = np.array([RCS_DBSM[a.name] for a in actors]) + random.normal(0, 3, len(actors))
    distance = hits.distance[sight] + random.normal(DEPTH_M, RANGE_NOISE_M, len(actors))
    ghosts = random.poisson(GHOSTS)
    own = _own_velocity(world, time_s, name) @ pose[:2, :2]
    return _returns(
        angle=np.append(angle[sight], np.radians(random.uniform(-60, 60, ghosts))),
        distance=np.append(distance, random.uniform(3, MAX_RANGE_M, ghosts)),
        velocity=np.concatenate([actual, np.zeros((ghosts, 2))]),
        rcs=np.append(rcs, random.normal(-4, 3, ghosts)),
        real=np.arange(len(actors) + ghosts) < len(actors),
        own=own, random=random,
    )  # fmt: skip


def _returning_rays(world: World, hits: Hits, random: np.random.Generator) -> np.ndarray:
    """Which rays come back: strong reflectors and near ones do most often."""
    strong = np.array([RCS_DBSM[a.name] for a in world.actors])[hits.actor.clip(0)]
    chance = (0.5 + strong / 40) * np.exp(-((hits.distance / FADE_RANGE_M) ** 2))
    near = (hits.actor >= 0) & (hits.distance > 0.5) & (hits.distance < MAX_RANGE_M)
    return np.flatnonzero(near & (random.random(len(strong)) < chance))


def _returns(
    *,
    angle: np.ndarray,
    distance: np.ndarray,
    velocity: np.ndarray,
    rcs: np.ndarray,
    real: np.ndarray,
    own: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    count = len(angle)
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = (velocity * ray).sum(1) + random.normal(0, SPEED_NOISE, count)
    measured = angle + np.radians(random.normal(0, ANGLE_NOISE_DEG, count))
    comp = along[:, None] * ray
    raw = comp - (ray @ own)[:, None] * ray
    x, y = distance * np.cos(measured), distance * np.sin(measured)
    odd = random.random(count)
    column = {
        "x": x, "y": y, "z": np.zeros(count), "id": np.arange(count),
        "dyn_prop": np.where(real, _motion(velocity, ray, random), 4),
        "rcs": (rcs * 2).round() / 2, "vx": raw[:, 0], "vy": raw[:, 1],
        "vx_comp": comp[:, 0], "vy_comp": comp[:, 1], "is_quality_valid": np.ones(count),
        "ambig_state": np.where(real & (odd > 0.04), 3, random.choice([1, 2, 4], count)),
        "x_rms": np.full(count, 19), "y_rms": (18 + distance / 20).round(),
        "invalid_state": np.where(real & (odd < 0.92), 0, random.choice([4, 8, 11, 12], count)),
        "pdh0": np.where(real, 1, random.integers(2, 5, count)),
        "vx_rms": np.full(count, 16), "vy_rms": np.full(count, 3),
    }  # fmt: skip
    return np.stack([column[name].astype(np.float32) for name in FIELDS], axis=1)


def _motion(velocity: np.ndarray, ray: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """dyn_prop: 0 moving away, 2 oncoming, 6 crossing, 1 stationary, 3 perhaps stationary."""
    speed = np.linalg.norm(velocity, axis=1)
    along = (velocity * ray).sum(1)
    still = np.where(random.random(len(speed)) < 0.85, 1, 3)
    away = np.where(along < 0, 2, 0)
    moving = np.where(np.abs(along) < 0.5 * speed, 6, away)
    return np.where(speed < SLOW, still, moving)


def _own_velocity(world: World, time_s: float, name: str) -> np.ndarray:
    """Of the radar itself [2], in the world (m/s)."""
    step = 1e-3
    before, after = (world.ego_pose(time_s + s) @ radar_to_ego(name) for s in (-step, step))
    velocity: np.ndarray = (after[:2, 3] - before[:2, 3]) / (2 * step)
    return velocity
