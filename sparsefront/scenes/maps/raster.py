"""Map targets of the nuScenes map expansion around a frame: which cells each class covers.

What the published BEVFusion (mit-han-lab/bevfusion, LoadBEVSegmentation) trains on, drawn cell for
cell as nuscenes-devkit's get_map_mask does: corners of polygons are rounded to a cell, those of
lines cut to one, and borders are filled too. Only what lies near the frame is touched.

Two departures from the published targets, both towards where things are: a scaled frame shows a map
that is scaled (theirs stays 100 m wide), and flips come from the matrix (theirs reverse the drawn
map, the same but for the half cell that rounding favours).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.batch import MAP_CLASSES
from sparsefront.scenes.geometry import Array
from sparsefront.scenes.maps.expansion import read_map

REACH_M, CELLS = 50.0, 200
LINE_CELLS = 2
"""The published targets: cells of 0.5 m within 50 m, lines two cells wide."""


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A square of a map: centre x, y and side in metres, angle of its x axis in degrees
    counter-clockwise from the map's x axis. mirrored: its y axis points to the right of x.
    """

    x: float
    y: float
    side_m: float
    angle_deg: float
    mirrored: bool

    @classmethod
    def around(cls, lidar_to_global: Array, lidar_augment: Array | None = None) -> Patch:
        """The patch that +-50 m of the augmented LiDAR frame cover. Both are 4x4; a tilt is left
        out, as in the published code. lidar_augment: un-augmented -> augmented LiDAR frame.
        """
        move = np.eye(4) if lidar_augment is None else np.asarray(lidar_augment, np.float64)
        pose = lidar_to_global @ np.linalg.inv(move)
        scale = np.cbrt(abs(np.linalg.det(move[:3, :3])))
        return cls(
            x=float(pose[0, 3]),
            y=float(pose[1, 3]),
            side_m=float(2 * REACH_M / scale),
            angle_deg=float(np.arctan2(pose[1, 0], pose[0, 0]) / np.pi * 180),
            mirrored=bool(np.linalg.det(pose[:2, :2]) < 0),
        )


class MapLayers:
    """The polygons and lines of one map, by class, each with a search tree."""

    def __init__(self, path: Path, shapes: dict[str, list[Any]]) -> None:
        self.path = path
        self.shapes = {name: np.array(found, dtype=object) for name, found in shapes.items()}
        self.trees = {name: shapely.STRtree(found) for name, found in self.shapes.items()}

    @classmethod
    def read(cls, path: str | Path) -> MapLayers:
        """A file of maps/expansion; InputError where read_map raises."""
        return cls(Path(path), read_map(path))

    def raster(
        self, lidar_to_global: Array, lidar_augment: Array | None = None
    ) -> NDArray[np.bool_]:
        """[6, 200, 200] as scenes.batch.Targets.maps: cell [k, i, j] of class k is at
        x = -49.75 + 0.5 i (right), y = -49.75 + 0.5 j (forward) of the augmented LiDAR frame.
        Arguments as in Patch.around.
        """
        return self.cells(Patch.around(lidar_to_global, lidar_augment))

    def cells(self, patch: Patch) -> NDArray[np.bool_]:
        """[6, 200, 200] of a patch, axes (class, x, y)."""
        masks = np.stack([self._mask(name, patch) for name in MAP_CLASSES])  # [6, y, x]
        if patch.mirrored:
            masks = masks[:, ::-1]
        return masks.transpose(0, 2, 1).astype(bool)

    def _mask(self, name: str, patch: Patch) -> NDArray[np.uint8]:
        mask = np.zeros((CELLS, CELLS), np.uint8)
        square = _square(patch)
        near = np.sort(self.trees[name].query(square, predicate="intersects"))
        for shape in _to_cells(self._cut(self.shapes[name][near], square), patch):
            if name == "divider":
                _draw_lines(mask, shape)
            else:
                _draw_polygons(mask, shape)
        return mask

    def _cut(self, shapes: NDArray[Any], square: shapely.Polygon) -> NDArray[Any]:
        try:
            cut: NDArray[Any] = shapely.intersection(shapes, square)
        except shapely.errors.GEOSException as error:
            raise InputError(
                f"{self.path}: {str(error).strip()}; allowed: valid polygons"
            ) from error
        return cut


def _square(patch: Patch) -> shapely.Polygon:
    """The patch in the map's frame."""
    half = patch.side_m / 2.0
    upright = shapely.box(patch.x - half, patch.y - half, patch.x + half, patch.y + half)
    return _turn_shapes(np.array([upright]), patch.angle_deg, patch)[0]


def _to_cells(shapes: NDArray[Any], patch: Patch) -> list[Any]:
    """Shapes in the patch's own frame, cut to it, in cells from its lower left corner. Every step
    rounds as in the devkit, which cuts a second time after the turn.
    """
    shapes = shapes[~shapely.is_empty(shapes)]
    if not len(shapes):
        return []
    half = patch.side_m / 2.0
    own = _turn_shapes(shapes, -patch.angle_deg, patch)
    own = shapely.transform(own, lambda p: p - [patch.x, patch.y])
    own = shapely.intersection(own, shapely.box(-half, -half, half, half))
    scale = CELLS / patch.side_m
    own = shapely.transform(own, lambda p: (p + half) * scale)
    return [shape for shape in own if not shape.is_empty]


def _turn_shapes(shapes: NDArray[Any], angle_deg: float, patch: Patch) -> NDArray[Any]:
    """Shapes turned about the patch's centre; tiny sines and cosines are zero, as in shapely."""
    angle = angle_deg * pi / 180.0
    c, s = (0.0 if abs(v) < 2.5e-16 else v for v in (cos(angle), sin(angle)))
    x, y = patch.x, patch.y
    shift_x, shift_y = x - x * c + y * s, y - x * s - y * c

    def turn(points: Array) -> Array:
        px, py = points.T
        return np.stack([c * px + -s * py + shift_x, s * px + c * py + shift_y]).T

    turned: NDArray[Any] = shapely.transform(shapes, turn)
    return turned


def _draw_polygons(mask: NDArray[np.uint8], shape: Any) -> None:
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
    outer = [_corners(p.exterior) for p in parts]
    inner = [_corners(hole) for p in parts for hole in p.interiors]
    if outer:
        cv2.fillPoly(mask, outer, (1,))
    if inner:
        cv2.fillPoly(mask, inner, (0,))


def _draw_lines(mask: NDArray[np.uint8], shape: Any) -> None:
    for part in shapely.get_parts(shape):
        if part.geom_type == "LineString":
            places = shapely.get_coordinates(part).astype(np.int32)
            cv2.polylines(mask, [places], False, (1,), LINE_CELLS)


def _corners(ring: Any) -> NDArray[np.int32]:
    return shapely.get_coordinates(ring).round().astype(np.int32)
