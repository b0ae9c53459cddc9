"""A synthetic street scene: objects of the ten detection classes, clutter, and the ego's path.

World frame: x, y on the ground, z up, metres. Everything follows from (seed, scene index).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sparsefront.scenes.procedural.street import Street, make_street, street_start

# length, width, height in metres: nuScenes class means; pairs that share a shape share numbers
SIZES: dict[str, tuple[float, float, float]] = {
    "car": (4.6, 1.95, 1.73),
    "truck": (6.7, 2.6, 2.95),
    "construction_vehicle": (6.7, 2.6, 2.95),
    "bus": (11.6, 2.93, 3.6),
    "trailer": (11.6, 2.93, 3.6),
    "barrier": (0.5, 2.5, 1.0),
    "motorcycle": (1.95, 0.7, 1.4),
    "bicycle": (1.95, 0.7, 1.4),
    "pedestrian": (0.73, 0.67, 1.77),
    "traffic_cone": (0.41, 0.41, 1.07),
}
CLUTTER = "clutter"
# parts of a class: centre (fraction of the size, from the box centre) and size (fraction)
PARTS: dict[str, tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]] = {
    "car": (((0, 0, -0.2), (1, 1, 0.6)), ((-0.05, 0, 0.3), (0.55, 0.9, 0.4))),
    "truck": (((0.36, 0, -0.1), (0.28, 0.95, 0.8)), ((-0.15, 0, 0.04), (0.7, 1, 0.92))),
    "bus": (((0, 0, 0), (1, 1, 1)),),
    "barrier": (((0, 0, -0.4), (1, 1, 0.2)), ((0, 0, 0.1), (0.4, 1, 0.8))),
    "motorcycle": (((0, 0, -0.15), (1, 0.45, 0.7)), ((0.25, 0, 0.3), (0.12, 1, 0.4))),
    "pedestrian": (((0, 0, -0.1), (0.6, 0.8, 0.8)), ((0, 0, 0.4), (0.35, 0.4, 0.2))),
    "traffic_cone": (
        ((0, 0, -0.45), (1, 1, 0.1)),
        ((0, 0, -0.1), (0.6, 0.6, 0.7)),
        ((0, 0, 0.35), (0.3, 0.3, 0.3)),
    ),
}
PARTS["construction_vehicle"] = PARTS["truck"]
PARTS["trailer"] = PARTS["bus"]
PARTS["bicycle"] = PARTS["motorcycle"]

MOVING_SHARE = {"car": 0.4, "truck": 0.3, "bus": 0.3, "pedestrian": 0.5, "motorcycle": 0.4,
                "bicycle": 0.4}  # fmt: skip
SPEED = {"pedestrian": 1.3, "bicycle": 2.5}
MAX_RANGE_M = 34.0
"""Actors stay this near to the ego, within the grid of the small BEVFusion (38.4 m)."""
FASTEST_EGO = 3.0
"""m/s; so slow that the ego stays on its street for ten seconds."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object: class name, box centre at time 0 [3], size l w h [3], yaw, velocity [2] m/s."""

    name: str
    center: np.ndarray
    size: np.ndarray
    yaw: float
    velocity: np.ndarray
    color: np.ndarray
    style: int

    def at(self, time_s: float) -> np.ndarray:
        """Centre [3] at a time."""
        return self.center + np.array([*(self.velocity * time_s), 0.0])


@dataclass(frozen=True, kw_only=True)
class World:
    """Actors (annotated), clutter (not annotated), ego motion, light, and the street if any."""

    actors: tuple[Actor, ...]
    ego_speed: float
    ego_yaw_rate: float
    ego_start: np.ndarray
    ego_yaw: float
    sun: np.ndarray
    exposure: float
    ground: np.ndarray
    street: Street | None = None

    def ego_pose(self, time_s: float) -> np.ndarray:
        """4x4 ego (x forward) -> world at a time; a circular arc."""
        yaw = self.ego_yaw + self.ego_yaw_rate * time_s
        mean = self.ego_yaw + self.ego_yaw_rate * time_s / 2
        pose = np.eye(4)
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:2, 3] = self.ego_start + self.ego_speed * time_s * np.array(
            [np.cos(mean), np.sin(mean)]
        )
        return pose


def make_world(seed: int, scene: int, duration_s: float, street_map: bool = False) -> World:
    """The world of a scene: 2 to 4 actors of each class within 34 m of the ego, plus clutter.

    street_map: on a street, in a place that no other scene's street reaches; actors as without.
    """
    random = np.random.default_rng([seed, scene])
    speed, rate = random.uniform(0, FASTEST_EGO), random.uniform(-0.05, 0.05)
    base = World(
        actors=(), ego_speed=speed, ego_yaw_rate=rate, ego_start=random.uniform(300, 900, 2),
        ego_yaw=random.uniform(-np.pi, np.pi), sun=_unit(random.normal(size=3) + [0, 0, 1.5]),
        exposure=random.uniform(0.8, 1.15), ground=random.uniform(70, 120) + random.normal(0, 6, 3),
    )  # fmt: skip
    if street_map:
        base = replace(base, ego_start=street_start(scene, duration_s, FASTEST_EGO))
        base = replace(base, street=_street(base, seed, scene, duration_s))
    path = np.array([base.ego_pose(t)[:2, 3] for t in np.linspace(0, duration_s, 5)])
    actors: list[Actor] = []
    names = [n for n in SIZES for _ in range(random.integers(2, 5))]
    for name in sorted(names, key=lambda n: -SIZES[n][0]) + [CLUTTER] * 14:
        actor = place_actor(random, name, actors, path, duration_s, base.ego_yaw)
        if actor is not None:
            actors.append(actor)
    return replace(base, actors=tuple(actors))


def _street(world: World, seed: int, scene: int, duration_s: float) -> Street:
    """Along the ego's path, from draws of its own."""
    middle = world.ego_pose(duration_s / 2)
    yaw = float(np.arctan2(middle[1, 0], middle[0, 0]))
    random = np.random.default_rng([seed, scene, 3])
    return make_street(random, middle[:2, 3], yaw, world.ego_speed * duration_s)


def place_actor(
    random: np.random.Generator,
    name: str,
    others: list[Actor],
    path: np.ndarray,
    duration_s: float,
    street_yaw: float,
) -> Actor | None:
    """An actor clear of the ego's path and of the others, or None after 60 tries."""
    for _ in range(60):
        clutter = name == CLUTTER
        size = (
            np.array(SIZES[name]) * random.normal(1, 0.06, 3).clip(0.85, 1.15)
            if not clutter
            else (np.array([random.uniform(0.3, 12), random.uniform(0.3, 1), random.uniform(2, 6)]))
        )
        angle = random.uniform(-np.pi, np.pi)
        reach = random.uniform(38, 46) if clutter and size[0] > 1 else random.uniform(4, 32)
        place = path.mean(0) + reach * np.array([np.cos(angle), np.sin(angle)])
        aligned = random.random() < 0.7
        yaw = (
            street_yaw + random.integers(4) * np.pi / 2 + random.normal(0, 0.1)
            if aligned
            else (random.uniform(-np.pi, np.pi))
        )
        velocity = np.zeros(2)
        if random.random() < MOVING_SHARE.get(name, 0):
            velocity = (
                random.uniform(0.6, 1.2)
                * SPEED.get(name, 4.0)
                * np.array([np.cos(yaw), np.sin(yaw)])
            )
        ends = place + velocity * duration_s
        radius = np.hypot(size[0], size[1]) / 2
        from_path = min(
            np.linalg.norm(path - p, axis=1).min() for p in (place, ends, (place + ends) / 2)
        )
        too_far = max(np.linalg.norm(path - p, axis=1).max() for p in (place, ends))
        if from_path < radius + 2.2 or (not clutter and too_far > MAX_RANGE_M):
            continue
        if any(_too_close(place, radius, velocity, o, duration_s) for o in others):
            continue
        color = random.uniform(30, 230, 3)
        center = np.array([*place, size[2] / 2])
        return Actor(
            name=name,
            center=center,
            size=size,
            yaw=yaw,
            velocity=velocity,
            color=color,
            style=int(random.integers(4)),
        )
    return None


def _too_close(
    place: np.ndarray, radius: float, velocity: np.ndarray, other: Actor, duration_s: float
) -> bool:
    apart = radius * 0.8 + np.hypot(other.size[0], other.size[1]) / 2 * 0.8 + 0.3
    return any(
        np.linalg.norm(place + velocity * t - other.at(t)[:2]) < apart
        for t in np.linspace(0, duration_s, 6)
    )


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)
