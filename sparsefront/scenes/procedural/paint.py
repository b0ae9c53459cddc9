"""What the ground of a street looks like: a label for every 10 cm, drawn once a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.ops import substring

TEXEL_M = 0.1
PLAIN, ROAD, WALKWAY, CAR_PARK, BAY, CROSSING, STOP_LINE, ROAD_DIVIDER, LANE_DIVIDER = range(9)
COLORS = np.array(
    [[0, 0, 0], [46, 46, 52], [178, 164, 142], [88, 96, 136], [200, 200, 210], [228, 228, 228],
     [214, 70, 52], [236, 186, 40], [220, 220, 220]], dtype=np.float64,
)  # fmt: skip
"""Colour of each label; PLAIN takes the world's own."""
INTENSITY = np.array([12.0, 7.0, 20.0, 10.0, 26.0, 34.0, 34.0, 30.0, 30.0])
"""LiDAR intensity of each label; PLAIN's is that of all ground without a street."""
AREAS = {"drivable_area": ROAD, "walkway": WALKWAY, "carpark_area": CAR_PARK,
         "stop_line": STOP_LINE}  # fmt: skip
LINE_M, STRIPE_M, DASH_M, BAY_M = 0.2, 0.5, 3.0, 2.5
SHIFT = 4  # bits after the point of a corner's texel


@dataclass(frozen=True, kw_only=True)
class Paint:
    """labels [T, T] uint8 of texels, rows along y, from the world's place `corner` [2] on."""

    labels: NDArray[np.uint8]
    corner: NDArray[np.float64]

    @classmethod
    def draw(cls, layers: dict[str, list[Any]], middle: NDArray[np.float64], reach: float) -> Paint:
        """The square of +-reach metres about middle; layers by their name in the map expansion."""
        size = int(np.ceil(2 * reach / TEXEL_M))
        paint = cls(labels=np.zeros((size, size), np.uint8), corner=middle - reach)
        for name, label in AREAS.items():
            for area in layers[name]:
                paint._fill(area, label)
        for area in layers["carpark_area"]:
            for line in _lines_across(area, BAY_M):
                paint._fill(line.buffer(LINE_M / 2, cap_style="flat"), BAY)
        for area in layers["ped_crossing"]:
            for line in _lines_across(area, 2 * STRIPE_M):
                paint._fill(line.buffer(STRIPE_M / 2, cap_style="flat"), CROSSING)
        for line in layers["road_divider"]:
            paint._fill(line.buffer(LINE_M / 2, cap_style="flat"), ROAD_DIVIDER)
        for line in layers["lane_divider"]:
            for start in np.arange(0.0, line.length, 2 * DASH_M):
                dash = substring(line, start, start + DASH_M)
                paint._fill(dash.buffer(LINE_M / 2, cap_style="flat"), LANE_DIVIDER)
        return paint

    def at(self, places: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Labels [P] of places [P, 2] on the ground; PLAIN beyond the square."""
        column, row = np.floor((places - self.corner) / TEXEL_M).astype(np.int64).T
        size = len(self.labels)
        there = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        found = np.zeros(len(places), np.uint8)
        found[there] = self.labels[row[there], column[there]]
        return found

    def _fill(self, area: Any, label: int) -> None:
        texels = (shapely.get_coordinates(area.exterior) - self.corner) / TEXEL_M - 0.5
        fixed = (texels * 2**SHIFT).round().astype(np.int32)
        cv2.fillPoly(self.labels, [fixed], (label,), shift=SHIFT)


def _lines_across(block: Any, apart: float) -> list[Any]:
    """Lines across a rectangle parallel to its shorter side, `apart` metres from each other."""
    a, b, c = shapely.get_coordinates(block.exterior)[:3]
    if np.linalg.norm(b - a) > np.linalg.norm(c - b):
        a, c = c, a
    length = float(np.linalg.norm(c - b))
    steps = np.arange(apart / 2, length, apart) / length
    return [shapely.LineString([a + t * (c - b), b + t * (c - b)]) for t in steps]
