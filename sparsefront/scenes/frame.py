"""One keyframe as read from disk, before it becomes a batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sparsefront.errors import InputError
from sparsefront.scenes.geometry import Array

if TYPE_CHECKING:
    from sparsefront.scenes.maps.raster import MapLayers


OnBadSample = Literal["raise", "skip"]
"""What happens at a frame that cannot be read: the run ends, or goes on without the frame."""


class BadSample(InputError):
    """A frame that cannot be read; says which file."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One keyframe: everything in its LiDAR frame, N cameras in the order of their data set.

    image_paths [N]; image_sizes [N, 2] width and height as the tables say, 0 where they do not;
    intrinsics [N, 3, 3] in pixels of the stored image; lidar_to_camera and camera_to_ego
    [N, 4, 4];
    points [P, 5] float32 (x, y, z, intensity, delta t in s); boxes [M, 9] as in scenes.batch;
    box_rotations [M, 3, 3] with the full tilt of each box (boxes keep only the yaw; on a tilted
    LiDAR the box that the annotator drew is the tilted one); labels [M]; num_lidar_pts and
    num_radar_pts [M]; attributes M names ('' where none); tracks [M] numbers that stay with an
    object over time, -1 where not known;
    lidar_to_global and ego_to_global 4x4; radar [R, RADAR_FIELDS] float32 and the layers of the
    map, None where not asked for.
    """

    token: str
    image_paths: tuple[Path, ...]
    image_sizes: NDArray[np.int32]
    intrinsics: Array
    lidar_to_camera: Array
    camera_to_ego: Array
    points: NDArray[np.float32]
    boxes: Array
    box_rotations: Array
    labels: NDArray[np.int64]
    num_lidar_pts: NDArray[np.int64]
    num_radar_pts: NDArray[np.int64]
    attributes: tuple[str, ...]
    tracks: NDArray[np.int64]
    lidar_to_global: Array
    ego_to_global: Array
    radar: NDArray[np.float32] | None = None
    map_layers: MapLayers | None = None
