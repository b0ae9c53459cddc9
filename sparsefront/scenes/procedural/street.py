"""A synthetic street: a road along the ego's path, one across it, and all that a map says of them.

Shapes are shapely polygons and lines; a street is laid out along +x and then moved into the world.
The map file, the cameras and the LiDAR all see these shapes. Actors are placed without regard to
the street, and its road is straight: in a scene of more than 20 keyframes the ego's arc may leave
its lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Polygon, affinity

from sparsefront.scenes.procedural.paint import Paint

REACH_M = 80.0
"""Roads go on for this long beyond the ego's path: farther than targets and most pixels reach."""
MARGIN_M, COLUMNS = 30.0, 8
CROSSING_M, STOP_LINE_M, GAP_M = 3.5, 1.2, 0.8
Shapes = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Street:
    """layers: shapes in the world by their layer's name in the map expansion; paint: their look."""

    layers: Shapes
    paint: Paint


def street_start(scene: int, duration_s: float, fastest: float) -> NDArray[np.float64]:
    """Where the ego of a scene starts [2]: so far from all others that no two streets meet, the
    fastest ego driving `fastest` m/s.
    """
    apart = 2 * (REACH_M + fastest * duration_s / 2 + MARGIN_M)
    row, column = divmod(scene, COLUMNS)
    place: NDArray[np.float64] = apart * (np.array([column, row]) + 0.75)
    return place


def make_street(
    random: np.random.Generator, middle: NDArray[np.float64], yaw: float, path_m: float
) -> Street:
    """The street of an ego that drives path_m with its middle at `middle` [2], heading to yaw."""
    reach = REACH_M + path_m / 2
    lane, lanes = random.uniform(3.2, 3.8), int(random.integers(1, 3))
    layers = _layers(random, reach, lane, lanes)
    for name, shapes in layers.items():  # the ego keeps to the left lane, as in Singapore
        aside = [affinity.translate(s, 0.0, -lane / 2) for s in shapes]
        turned = [affinity.rotate(s, yaw, (0, 0), use_radians=True) for s in aside]
        layers[name] = [affinity.translate(s, *middle) for s in turned]
    return Street(layers=layers, paint=Paint.draw(layers, middle, reach + MARGIN_M))


def _layers(random: np.random.Generator, reach: float, lane: float, lanes: int) -> Shapes:
    half, cross_half = lane * lanes, lane
    junction = random.choice([-1.0, 1.0]) * random.uniform(14, 26)
    slant = random.uniform(-0.15, 0.15)
    walk = random.uniform(2.0, 3.5)

    def across(shape: Any) -> Any:
        """From the frame of the main road to that of the one across."""
        turned = affinity.rotate(shape, np.pi / 2 + slant, (0, 0), use_radians=True)
        return affinity.translate(turned, junction, 0.0)

    def both(half: float, cross_half: float, reach: float) -> list[Any]:
        blocks = [_block(-reach, reach, -h, h) for h in (half, cross_half)]
        return [blocks[0], across(blocks[1])]

    roads = both(half, cross_half, reach)
    broad = shapely.union_all(both(half + walk, cross_half + walk, reach))
    beyond = shapely.union_all(both(half, cross_half, reach + 1.0))  # no two ends on one line
    layers: Shapes = {
        "drivable_area": [shapely.union_all(roads)],
        "road_segment": roads,
        "walkway": list(shapely.get_parts(broad - beyond)),
        "carpark_area": [_car_park(random, -junction, half + walk)],
    }
    at, cross_at = _clearance(cross_half, half, slant), _clearance(half, cross_half, slant)
    arms = [
        (_arm(half, junction + at, reach), None),
        (_arm(half, at - junction, reach), _turn_half),
        (_arm(cross_half, cross_at, reach), across),
        (_arm(cross_half, cross_at, reach), lambda shape: across(_turn_half(shape))),
    ]
    for arm, move in arms:
        for name, shape in arm.items():
            layers.setdefault(name, []).append(move(shape) if move else shape)
    layers["lane_divider"] = _lane_dividers(layers["road_divider"][:2], lane) if lanes > 1 else []
    return layers


def _arm(half: float, start: float, reach: float) -> dict[str, Any]:
    """What an arm of the junction along +x carries, from `start` on: crossing, stop line of those
    who come (on their left), the line between the two directions.
    """
    crossed = start + CROSSING_M
    stop = crossed + GAP_M
    return {
        "ped_crossing": _block(start, crossed, -half, half),
        "stop_line": _block(stop, stop + STOP_LINE_M, -half, 0.0),
        "road_divider": LineString([(stop + STOP_LINE_M, 0.0), (reach, 0.0)]),
    }


def _lane_dividers(middle: list[Any], lane: float) -> list[Any]:
    return [affinity.translate(line, 0.0, side * lane) for line in middle for side in (-1, 1)]


def _clearance(other_half: float, half: float, slant: float) -> float:
    """How far from the junction's middle an arm is clear of the other road."""
    return float((other_half + half * abs(np.sin(slant))) / np.cos(slant) + GAP_M)


def _car_park(random: np.random.Generator, along: float, aside: float) -> Polygon:
    length, depth = random.uniform(14, 24), random.uniform(8, 14)
    low = aside if random.random() < 0.5 else -aside - depth
    return _block(along - length / 2, along + length / 2, low, low + depth)


def _block(x_low: float, x_high: float, y_low: float, y_high: float) -> Polygon:
    return shapely.box(x_low, y_low, x_high, y_high)


def _turn_half(shape: Any) -> Any:
    """Turned half about the origin: the arm on the other side."""
    return affinity.rotate(shape, np.pi, (0, 0), use_radians=True)
