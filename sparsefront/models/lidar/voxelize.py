"""Points to voxels: the mean of the points of each occupied voxel, or the points themselves."""

from __future__ import annotations

from dataclasses import dataclass

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
    means, keys = [], []
    for cloud in points:
        cloud, flat = _inside(cloud, lower_m, voxel_m, shape)
        mean, key = _mean_of_voxels(cloud, flat, max_points, max_voxels)
        means.append(mean)
        keys.append(key)
    return torch.cat(means), _coordinates(keys, shape)


@dataclass(frozen=True)
class GroupedPoints:
    """points [V, P, F] of each voxel, zeros where fewer than P; how many [V]; coordinates [V, 4] =
    (frame, x, y, z), int32.
    """

    points: Tensor
    count: Tensor
    coordinates: Tensor


def group_points(
    points: tuple[Tensor, ...],
    lower_m: tuple[float, float, float],
    voxel_m: tuple[float, float, float],
    shape: tuple[int, int, int],
    *,
    max_points: int,
    max_voxels: int,
) -> GroupedPoints:
    """The first `max_points` points of each occupied voxel; of a frame's voxels those that were
    entered first. Arguments as voxelize's.
    """
    groups, counts, keys = [], [], []
    for cloud in points:
        cloud, flat = _inside(cloud, lower_m, voxel_m, shape)
        order, voxel, rank, count, key = _sort_by_voxel(flat, max_points)
        grouped = cloud.new_zeros(len(key), max_points, cloud.shape[1])
        grouped = grouped.index_put((voxel, rank), cloud[order])
        early = _first_entered(flat, key, max_voxels)
        groups.append(grouped[early])
        counts.append(count[early])
        keys.append(key[early])
    return GroupedPoints(torch.cat(groups), torch.cat(counts), _coordinates(keys, shape))


def _inside(
    cloud: Tensor,
    lower_m: tuple[float, float, float],
    voxel_m: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> tuple[Tensor, Tensor]:
    """Points on the grid and the key of each one's voxel."""
    index = torch.floor((cloud[:, :3] - cloud.new_tensor(lower_m)) / cloud.new_tensor(voxel_m))
    limits = cloud.new_tensor(shape)
    inside = ((index >= 0) & (index < limits)).all(1)
    x, y, z = index[inside].long().unbind(1)
    return cloud[inside], (x * shape[1] + y) * shape[2] + z


def _coordinates(keys: list[Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Keys of each frame -> (frame, x, y, z) [V, 4] int32"""
    _, columns, heights = shape
    rows = [
        torch.stack(
            [
                torch.full_like(key, frame),
                key // (columns * heights),
                key // heights % columns,
                key % heights,
            ],
            dim=1,
        )
        for frame, key in enumerate(keys)
    ]
    return torch.cat(rows).int()


def _mean_of_voxels(
    cloud: Tensor, flat: Tensor, max_points: int | None, max_voxels: int | None
) -> tuple[Tensor, Tensor]:
    """Means [V, 5] and ascending keys [V] of one frame, from each point's key."""
    order, voxel, _, count, key = _sort_by_voxel(flat, max_points)
    total = cloud.new_zeros(len(key), cloud.shape[1]).index_add(0, voxel, cloud[order])
    mean = total / count.unsqueeze(1)
    if max_voxels is not None:
        early = _first_entered(flat, key, max_voxels)
        mean, key = mean[early], key[early]
    return mean, key


def _sort_by_voxel(
    flat: Tensor, max_points: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Points ordered by voxel: their numbers, each one's voxel and rank in it, then how many each
    voxel has and its key (ascending).
    """
    order = flat.argsort(stable=True)
    key, count = torch.unique_consecutive(flat[order], return_counts=True)
    first = count.cumsum(0) - count  # where each voxel's points begin in the sorted order
    voxel = torch.arange(len(key), device=flat.device).repeat_interleave(count)
    rank = torch.arange(len(order), device=flat.device) - first[voxel]
    if max_points is not None:
        kept = rank < max_points
        order, voxel, rank = order[kept], voxel[kept], rank[kept]
        count = count.clamp(max=max_points)
    return order, voxel, rank, count, key


def _first_entered(flat: Tensor, key: Tensor, max_voxels: int) -> Tensor:
    """Positions in `key` of the voxels that a point entered first, ascending."""
    if len(key) <= max_voxels:
        return torch.arange(len(key), device=flat.device)
    voxel = torch.searchsorted(key, flat)
    entered = torch.full_like(key, len(flat)).scatter_reduce_(
        0, voxel, torch.arange(len(flat), device=flat.device), "amin"
    )
    return entered.argsort()[:max_voxels].sort().values
