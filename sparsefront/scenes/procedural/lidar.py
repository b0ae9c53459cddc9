"""Scans of a synthetic world by a spinning LiDAR: range noise, drop-out, intensity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsefront.scenes.procedural.paint import INTENSITY, PLAIN
from sparsefront.scenes.procedural.raycast import GROUND, cast
from sparsefront.scenes.procedural.world import World

RANGE_NOISE_M = 0.02
MAX_RANGE_M = 70.0
DROPOUT_RANGE_M = 45.0
"""Share of returns kept falls as exp(-(range / this)^2)."""


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """Beams between two elevations, directions a turn, position in the ego frame (m); nuScenes'
    by default.
    """

    beams: int = 32
    azimuths: int = 720
    elevation_deg: tuple[float, float] = (-30.67, 10.67)
    position: tuple[float, float, float] = (0.94, 0.0, 1.84)


NUSCENES = Scanner()


def lidar_to_ego(scanner: Scanner = NUSCENES) -> np.ndarray:
    """4x4 LiDAR (x right, y forward) -> ego (x forward, y left)."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    pose[:3, 3] = scanner.position
    return pose


def scan(
    world: World, time_s: float, random: np.random.Generator, scanner: Scanner = NUSCENES
) -> np.ndarray:
    """[P, 5] float32 in the LiDAR frame: x, y, z (m), intensity 0..255, ring."""
    beams, azimuths = scanner.beams, scanner.azimuths
    elevation = np.radians(np.linspace(*scanner.elevation_deg, beams))[:, None]
    azimuth = np.arange(azimuths)[None] * (2 * np.pi / azimuths)
    local = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
         np.broadcast_to(np.sin(elevation), (beams, azimuths))], -1,
    ).reshape(-1, 3)  # fmt: skip
    ring = np.repeat(np.arange(beams), azimuths)
    pose = world.ego_pose(time_s) @ lidar_to_ego(scanner)
    rays = local @ pose[:3, :3].T
    hits = cast(world, time_s, pose[:3, 3], rays)
    distance = hits.distance + random.normal(0, RANGE_NOISE_M, len(rays))
    kept = random.random(len(rays)) < np.exp(-((hits.distance / DROPOUT_RANGE_M) ** 2))
    kept &= (distance > 1.0) & (distance < MAX_RANGE_M)
    facing = np.abs((hits.normal * rays).sum(1))
    base = np.where(hits.actor == GROUND, INTENSITY[PLAIN], 38.0)
    if world.street is not None:
        ground = hits.actor == GROUND
        at = pose[:2, 3] + rays[ground, :2] * hits.distance[ground, None]
        base[ground] = INTENSITY[world.street.paint.at(at)]
    intensity = (base * (0.3 + 0.7 * facing) + random.normal(0, 6, len(rays))).clip(0, 255)
    points = local[kept] * distance[kept, None]
    return np.column_stack([points, intensity[kept].round(), ring[kept]]).astype(np.float32)
