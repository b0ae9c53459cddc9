"""Points to voxels: the mean of the points of each occupied voxel."""

from __future__ import annotations

import torch
from torch import Tensor


def voxelize(
    points: tuple[Tensor, ...],
    lower_m: tuple[float, float, float],
    voxel_m: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:
    """Mean features [V, 5] and integer coordinates [V, 4] = (frame, x, y, z) of occupied voxels.

    points: one [P, 5] tensor a frame (x, y, z, intensity, delta t); lower_m is the lower corner of
    the grid, voxel_m a voxel's size, shape the number of voxels (X, Y, Z). Points outside are left
    out. Voxels come in the order of their coordinates.
    """
    low = points[0].new_tensor(lower_m)
    size = points[0].new_tensor(voxel_m)
    features, keys = [], []
    volume = shape[0] * shape[1] * shape[2]
    limits = torch.tensor(shape, device=low.device)
    for frame, cloud in enumerate(points):
        index = torch.floor((cloud[:, :3] - low) / size).long()
        inside = ((index >= 0) & (index < limits)).all(1)
        index = index[inside]
        flat = (index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2]
        keys.append(flat + frame * volume)
        features.append(cloud[inside])
    key, voxel, count = torch.unique(torch.cat(keys), return_inverse=True, return_counts=True)
    total = features[0].new_zeros(len(key), 5).index_add(0, voxel, torch.cat(features))
    mean = total / count.unsqueeze(1)
    rest = key % volume
    coordinates = torch.stack(
        [
            key // volume,
            rest // (shape[1] * shape[2]),
            rest // shape[2] % shape[1],
            rest % shape[2],
        ],
        dim=1,
    )
    return mean, coordinates.int()
