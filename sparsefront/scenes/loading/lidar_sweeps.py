"""Merges a LiDAR keyframe and the sweeps before it into one cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.geometry import Array

EGO_BODY_M = 1.0
"""Points of sweeps closer than this in x and y are the ego's own body."""
FIELDS = 5


@dataclass(frozen=True, kw_only=True)
class LidarSweep:
    """A file of points, the 4x4 of its sensor -> the keyframe's LiDAR frame, and its age in s."""

    path: Path
    motion: Array
    age_s: float


def merge_sweeps(keyframe: Path, sweeps: Sequence[LidarSweep]) -> NDArray[np.float32]:
    """[P, 5] float32: x, y, z, intensity, delta t (0 at the keyframe), the keyframe's points first.

    BadSample naming the file that is missing or damaged.
    """
    first = read_points(keyframe)
    first[:, 4] = 0.0
    if not sweeps:
        return first
    clouds = [read_points(sweep.path) for sweep in sweeps]
    out = np.empty((len(first) + sum(map(len, clouds)), FIELDS), np.float32)
    out[: len(first)] = first
    end = len(first)
    for sweep, cloud in zip(sweeps, clouds, strict=True):
        end += _move_points(cloud, sweep.motion, sweep.age_s, EGO_BODY_M, out[end:])
    return out[:end]


@numba.njit(cache=True)
def _move_points(
    cloud: NDArray[np.float32], motion: Array, age_s: float, body: float, out: NDArray[np.float32]
) -> int:
    """Writes points off the ego's body, moved, to the first rows of `out`; returns how many."""
    count = 0
    for point in range(len(cloud)):
        x, y, z = cloud[point, 0], cloud[point, 1], cloud[point, 2]
        if abs(x) < body and abs(y) < body:
            continue
        for axis in range(3):
            moved = motion[axis, 0] * x + motion[axis, 1] * y + motion[axis, 2] * z
            out[count, axis] = moved + motion[axis, 3]
        out[count, 3] = cloud[point, 3]
        out[count, 4] = age_s
        count += 1
    return count


def read_points(path: Path) -> NDArray[np.float32]:
    """[P, 5] float32 of a .pcd.bin file: x, y, z, intensity, ring."""
    try:
        values = np.fromfile(path, dtype=np.float32)
        size = path.stat().st_size
    except OSError as error:
        raise BadSample(f"{path}: {error.strerror or error}") from error
    if size % (4 * FIELDS) or size == 0:
        raise BadSample(f"{path}: {size} bytes; allowed: a multiple of {4 * FIELDS}, above 0")
    return values.reshape(-1, FIELDS)
