"""One ray caster for cameras and LiDAR, so that occlusion is the same in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsefront.scenes.procedural.world import PARTS, World

GROUND, SKY = -1, -2


@dataclass(frozen=True, kw_only=True)
class Hits:
    """For R rays: distance [R] m (inf: sky), actor [R] (GROUND, SKY), local position [R, 3] as a
    fraction of the actor's box in -0.5..0.5, outward normal [R, 3] in the world."""

    distance: np.ndarray
    actor: np.ndarray
    local: np.ndarray
    normal: np.ndarray


def cast(world: World, time_s: float, origin: np.ndarray, rays: np.ndarray) -> Hits:
    """First hit of rays [R, 3] (unit vectors, world frame) from origin [3] at a time."""
    count = len(rays)
    distance = np.full(count, np.inf)
    actor = np.full(count, SKY)
    local = np.zeros((count, 3), np.float32)
    normal = np.zeros((count, 3), np.float32)
    down = rays[:, 2] < -1e-6
    distance[down] = -origin[2] / rays[down, 2]
    actor[down] = GROUND
    normal[down] = [0, 0, 1]
    rays32 = rays.astype(np.float32)
    for index, body in enumerate(world.actors):
        center = body.at(time_s)
        offset = center - origin
        far = np.linalg.norm(offset)
        radius = np.linalg.norm(body.size) / 2
        if far <= radius:
            continue
        cosine = np.sqrt(1 - (radius / far) ** 2)
        near = np.flatnonzero(rays32 @ (offset / far).astype(np.float32) > cosine)
        if not len(near):
            continue
        c, s = np.cos(body.yaw), np.sin(body.yaw)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        direction = rays[near] @ turn.T
        start = turn @ -offset
        for part_center, part_size in PARTS.get(body.name, (((0, 0, 0), (1, 1, 1)),)):
            middle = np.array(part_center) * body.size
            half = np.array(part_size) * body.size / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                t1 = (middle - half - start) / direction
                t2 = (middle + half - start) / direction
            low = np.minimum(t1, t2)
            enter = low.max(1)
            leave = np.maximum(t1, t2).min(1)
            hit = (enter < leave) & (enter > 0) & (enter < distance[near])
            if not hit.any():
                continue
            which = near[hit]
            distance[which] = enter[hit]
            actor[which] = index
            local[which] = (start + direction[hit] * enter[hit, None]) / body.size
            axis = low[hit].argmax(1)
            outward = np.zeros((len(which), 3))
            outward[np.arange(len(which)), axis] = -np.sign(
                direction[hit][np.arange(len(which)), axis]
            )
            normal[which] = outward @ turn
    return Hits(distance=distance, actor=actor, local=local, normal=normal)
