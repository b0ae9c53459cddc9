"""Lift, splat (Philion & Fidler, ECCV 2020) as in the published BEVFusion: image features spread
along their rays by a depth distribution, summed in bird's-eye-view cells.

Shape legend: B frames, N cameras, D depth bins, C channels, h x w feature pixels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsefront.models.camera.bev_pool import bev_pool, cell_index
from sparsefront.models.precision import at_least_float32, full_precision

Bounds = tuple[float, float, float]
"""First, last (excluded) and step, in metres."""


@dataclass(frozen=True, kw_only=True)
class LiftGrid:
    """Where features are lifted from (feature pixels of an image) and splatted to (cells)."""

    image_size: tuple[int, int]
    feature_size: tuple[int, int]
    x: Bounds = (-54.0, 54.0, 0.3)
    y: Bounds = (-54.0, 54.0, 0.3)
    z: Bounds = (-10.0, 10.0, 20.0)
    depth: Bounds = (1.0, 60.0, 0.5)


class LiftGeometry(nn.Module):
    """Where each pixel at each depth lies in the LiDAR frame, and in which cell.

    dx, bx and nx are the cell size, the centre of the first cell and the number of cells; frustum
    [D, h, w, 3] has the pixels (u, v) and depths d. All follow from the configuration and are no
    part of our state dicts.
    """

    def __init__(self, grid: LiftGrid) -> None:
        super().__init__()
        axes = (grid.x, grid.y, grid.z)
        step = torch.tensor([b[2] for b in axes])
        first = torch.tensor([b[0] + b[2] / 2 for b in axes])
        count = torch.tensor([round((b[1] - b[0]) / b[2]) for b in axes])
        frustum = pixels_at_depths(grid.image_size, grid.feature_size, grid.depth)
        self.dx: Tensor
        self.bx: Tensor
        self.nx: Tensor
        self.frustum: Tensor
        for name, value in {"dx": step, "bx": first, "nx": count, "frustum": frustum}.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def cells(self) -> tuple[int, int, int]:
        x, y, z = self.nx.tolist()
        return x, y, z

    @full_precision
    def points(self, lidar_to_image: Tensor) -> Tensor:
        """lidar_to_image [B, N, 4, 4] -> [B, N, D, h, w, 3] m"""
        pixels = self.frustum.double()
        depth = pixels[..., 2:]
        rays = torch.cat([pixels[..., :2] * depth, depth, torch.ones_like(depth)], dim=-1)
        image_to_lidar = torch.linalg.inv(lidar_to_image.double())
        flat = rays.view(-1, 4) @ image_to_lidar.mT  # [B, N, D*h*w, 4]
        return flat[..., :3].unflatten(2, self.frustum.shape[:3]).to(self.frustum.dtype)

    def index(self, points: Tensor) -> Tensor:
        """Flat cell [B * N * D * h * w] over the batch, (frame, x, y, z) z fastest; -1 outside."""
        cells = self.cells
        found = cell_index(points, self.bx - self.dx / 2, self.dx, cells).flatten(1)  # [B, ...]
        volume = cells[0] * cells[1] * cells[2]
        first = torch.arange(len(points), device=points.device).unsqueeze(1) * volume
        return torch.where(found >= 0, found + first, found).flatten()


class LiftSplat(nn.Module):
    """What every view transform shares; the network that predicts depth is its subclass's.

    halves: three convolutions after pooling, the second at stride 2.
    """

    def __init__(self, grid: LiftGrid, channels_out: int, halves: bool) -> None:
        super().__init__()
        self.geometry = LiftGeometry(grid)
        self.image_size = grid.image_size
        self.bins = len(self.geometry.frustum)
        self.downsample: nn.Module = nn.Identity()
        if halves:
            self.downsample = nn.Sequential(
                *conv_layers(channels_out, channels_out, 3, 1, bias=False),
                *conv_layers(channels_out, channels_out, 3, 2, bias=False),
                *conv_layers(channels_out, channels_out, 3, 1, bias=False),
            )

    def to_bev(self, predicted: Tensor, lidar_to_image: Tensor) -> Tensor:
        """Depth logits and context [B * N, D + C, h, w] -> BEV [B, C * Z, X, Y], or half of it"""
        probability = at_least_float32(predicted[:, : self.bins]).softmax(dim=1)
        context = at_least_float32(predicted[:, self.bins :])
        out: Tensor = self.downsample(self.splat(probability, context, lidar_to_image))
        return out

    def splat(self, probability: Tensor, context: Tensor, lidar_to_image: Tensor) -> Tensor:
        """[B * N, D, h, w] and [B * N, C, h, w] -> sums [B, C * Z, X, Y]"""
        cells = self.geometry.index(self.geometry.points(lidar_to_image))
        kept = (cells >= 0).nonzero().flatten()
        pixels = probability[0, 0].numel()
        row = kept // (self.bins * pixels) * pixels + kept % pixels  # of the context's pixel
        by_pixel = context.permute(0, 2, 3, 1).flatten(0, 2)
        lifted = by_pixel[row] * probability.flatten()[kept].unsqueeze(1)
        frames, (x, y, z) = len(lidar_to_image), self.geometry.cells
        bev = bev_pool(lifted, cells[kept], frames * x * y * z)
        return bev.view(frames, x, y, z, -1).permute(0, 3, 4, 1, 2).flatten(1, 2).contiguous()


def pixels_at_depths(
    image_size: tuple[int, int], feature_size: tuple[int, int], depth: Bounds
) -> Tensor:
    """(u, v, d) [D, h, w, 3]: feature pixels spread from the first to the last image pixel."""
    height, width = image_size
    d = torch.arange(*depth)
    v = torch.linspace(0, height - 1, feature_size[0])
    u = torch.linspace(0, width - 1, feature_size[1])
    dd, vv, uu = torch.meshgrid(d, v, u, indexing="ij")
    return torch.stack([uu, vv, dd], dim=-1)


def conv_layers(
    channels_in: int, channels_out: int, kernel: int, stride: int, bias: bool = True
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm, ReLU, to stand in one flat Sequential."""
    return (
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
