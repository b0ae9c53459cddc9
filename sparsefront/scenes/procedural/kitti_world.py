"""A synthetic street as KITTI's cameras see it: traffic ahead, some too far to be labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparsefront.scenes.procedural.world import (
    CLUTTER,
    SIZES,
    Actor,
    World,
    make_world,
    place_actor,
)

CROWD = {"truck": 1, "car": 8, "barrier": 2, "bicycle": 2, "pedestrian": 3, "traffic_cone": 2,
         CLUTTER: 10}  # fmt: skip
"""How many are wanted ahead of the camera."""
HALF_VIEW_RAD = 0.75
"""A little more than half the camera's field of view (81 degrees)."""
FAR = 3
FAR_M = (52.0, 68.0)
"""Cars beyond the range of labels, and where: KITTI marks such objects DontCare."""
TRIES = 40


def make_kitti_world(seed: int, frame: int) -> World:
    """The world of a frame at time 0; everything follows from (seed, frame)."""
    base = make_world(seed, frame, 0.0)
    random = np.random.default_rng([seed, frame, 2])
    actors: list[Actor] = []
    path = base.ego_start[None]
    for name, wanted in CROWD.items():
        found = 0
        for _ in range(TRIES):
            actor = place_actor(random, name, actors, path, 0.0, base.ego_yaw)
            if actor is not None and _is_ahead(base, actor):
                actors.append(actor)
                found += 1
            if found == wanted:
                break
    actors += [_far_car(base, random, lane) for lane in range(FAR)]
    return replace(base, actors=tuple(actors))


def _is_ahead(world: World, actor: Actor) -> bool:
    away = actor.center[:2] - world.ego_start
    angle = np.arctan2(away[1], away[0]) - world.ego_yaw
    return bool(abs((angle + np.pi) % (2 * np.pi) - np.pi) < HALF_VIEW_RAD)


def _far_car(world: World, random: np.random.Generator, lane: int) -> Actor:
    """A car in one of the lanes beyond the range of labels."""
    ahead, right = random.uniform(*FAR_M), (lane - FAR // 2) * 12.0 + random.uniform(-2, 2)
    c, s = np.cos(world.ego_yaw), np.sin(world.ego_yaw)
    spot = world.ego_start + ahead * np.array([c, s]) + right * np.array([s, -c])
    size = np.array(SIZES["car"])
    return Actor(
        name="car", center=np.array([*spot, size[2] / 2]), size=size,
        yaw=world.ego_yaw + random.normal(0, 0.1), velocity=np.zeros(2),
        color=random.uniform(30, 230, 3), style=0,
    )  # fmt: skip
