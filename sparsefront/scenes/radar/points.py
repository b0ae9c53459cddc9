"""Radar sweeps as the published BEVFusion-R reads them: 45 numbers a point.

Facts from mit-han-lab/bevfusion, configs/nuscenes/det/centerhead/lssfpn/camera+radar and its loader
LoadRadarPointsMultiSweeps: the newest six sweeps of each radar, no filter, nothing normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsefront.scenes.batch import RADAR_FIELDS
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.geometry import Array, transform
from sparsefront.scenes.radar.file import FIELDS, read_radar

__all__ = ["NUM_SWEEPS", "RadarSweep", "move_radar", "radar_cloud", "read_radar"]

NUM_SWEEPS = 6
"""Sweeps of each radar that the published model takes, the keyframe among them."""
STATES = (("dyn_prop", 8), ("ambig_state", 5), ("invalid_state", 18))
ALARMS = 7
"""Numbers that stand for the classes of pdh0 (0..7)."""


@dataclass(frozen=True, kw_only=True)
class RadarSweep:
    """A file of one radar; to_lidar, 4x4: the radar's frame at that time -> the keyframe's LiDAR
    frame; age_s: how long before the keyframe of the same radar it was taken (0 for that one).
    """

    path: Path
    to_lidar: Array
    age_s: float


def radar_cloud(sweeps: Sequence[RadarSweep]) -> NDArray[np.float32]:
    """[P, 45] of the sweeps of all radars in the keyframe's LiDAR frame:

    0-2    x, y, z in metres; x and y moved on by the compensated velocity times the age
    3      radar cross-section in dBsm
    4-5    velocity x, y in m/s, the ego's own taken out
    6      age in s
    7-14   dynamic property 0..7, one-hot
    15-19  state of the Doppler ambiguity 0..4, one-hot
    20-37  invalid_state 0..17, one-hot
    38-44  false-alarm class pdh0: the first pdh0 of them are 1

    Points from lists of other sweeps stay in the order of `sweeps`. BadSample, naming the file,
    where it is damaged or a state is out of its range.
    """
    clouds = [_fields(sweep) for sweep in sweeps]
    return np.concatenate([np.zeros((0, RADAR_FIELDS), np.float32), *clouds])


def move_radar(matrix: Array, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Moves points [P, 45] by an augmentation of the LiDAR frame (4x4), velocities too."""
    moved = points.copy()
    moved[:, :3] = transform(matrix, points[:, :3].astype(np.float64))
    moved[:, 4:6] = points[:, 4:6].astype(np.float64) @ matrix[:2, :2].T
    return moved


def _fields(sweep: RadarSweep) -> NDArray[np.float32]:
    stored = read_radar(sweep.path).astype(np.float64)
    column = {name: stored[:, i] for i, name in enumerate(FIELDS)}
    flat = np.stack([column["vx_comp"], column["vy_comp"], np.zeros(len(stored))], axis=1)
    velocity = (flat @ sweep.to_lidar[:3, :3].T)[:, :2]
    place = transform(sweep.to_lidar, stored[:, :3])
    place[:, :2] += velocity * sweep.age_s
    age = np.full(len(stored), sweep.age_s)
    states = [_one_hot(sweep.path, name, column[name], size) for name, size in STATES]
    _check(sweep.path, "pdh0", column["pdh0"], ALARMS + 1)
    alarms = column["pdh0"][:, None] > np.arange(ALARMS)
    parts = [place, column["rcs"][:, None], velocity, age[:, None], *states, alarms]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _one_hot(path: Path, name: str, values: Array, size: int) -> Array:
    _check(path, name, values, size)
    hot: Array = np.eye(size)[values.astype(np.int64)]
    return hot


def _check(path: Path, name: str, values: Array, size: int) -> None:
    wrong = np.flatnonzero((values < 0) | (values >= size))
    if len(wrong):
        value = int(values[wrong[0]])
        raise BadSample(f"{path}: point {wrong[0]}: {name} {value}; allowed: 0..{size - 1}")
