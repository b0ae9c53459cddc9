"""Points to voxels: the mean of the points of each occupied voxel."""

from __future__ import annotations

import torch
from torch import Tensor


def voxelize(
    points: tuple[Tensor, ...],
    lower_m: tuple[float, float, float],
    voxel_m: tuple[float, float, float],
    shape: tuple[int, int, int],
    *,
    max_points: int | None = None,
    max_voxels: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean features [V, 5] and integer coordinates [V, 4] = (frame, x, y, z) of occupied voxels.

    points: one [P, 5] tensor a frame (x, y, z, intensity, delta t); lower_m is the lower corner of
    the grid, voxel_m a voxel's size, shape the number of voxels (X, Y, Z). Points outside are left
    out. Voxels come in the order of their coordinates. max_points: of a voxel's points only the
    first so many; max_voxels: of a frame's voxels only those that were entered first.
    """
    low = points[0].new_tensor(lower_m)
    size = points[0].new_tensor(voxel_m)
    volume = shape[0] * shape[1] * shape[2]
    limits = torch.tensor(shape, device=low.device)
    means, keys = [], []
    for frame, cloud in enumerate(points):
        index = torch.floor((cloud[:, :3] - low) / size).long()
        inside = ((index >= 0) & (index < limits)).all(1)
        index, cloud = index[inside], cloud[inside]
        flat = (index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2]
        mean, key = _mean_of_voxels(cloud, flat, max_points, max_voxels)
        means.append(mean)
        keys.append(key + frame * volume)
    key = torch.cat(keys)
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
    return torch.cat(means), coordinates.int()


def _mean_of_voxels(
    cloud: Tensor, flat: Tensor, max_points: int | None, max_voxels: int | None
) -> tuple[Tensor, Tensor]:
    """Means [V, 5] and ascending keys [V] of one frame, from each point's key."""
    order = flat.argsort(stable=True)
    key, count = torch.unique_consecutive(flat[order], return_counts=True)
    first = count.cumsum(0) - count  # where each voxel's points begin in the sorted order
    voxel = torch.arange(len(key), device=flat.device).repeat_interleave(count)
    if max_points is not None:
        rank = torch.arange(len(order), device=flat.device) - first[voxel]
        kept = rank < max_points
        order, voxel = order[kept], voxel[kept]
        count = count.clamp(max=max_points)
    total = cloud.new_zeros(len(key), cloud.shape[1]).index_add(0, voxel, cloud[order])
    mean = total / count.unsqueeze(1)
    if max_voxels is not None and len(key) > max_voxels:
        entered = flat.argsort(stable=True)[first]  # the point that opened each voxel
        early = entered.argsort()[:max_voxels].sort().values
        mean, key = mean[early], key[early]
    return mean, key
