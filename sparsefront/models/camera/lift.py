"""Lift-splat view transform with LiDAR depth as an extra input (BEVFusion's DepthLSS).

Shape legend: B frames, N cameras, D depth bins, C channels, h x w feature pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsefront.models.bev_grid import BevGrid
from sparsefront.models.camera.bev_pool import bev_pool, cell_index
from sparsefront.models.camera.resnet import conv_bn_relu
from sparsefront.models.precision import at_least_float32, full_precision

STRIDE = 8
"""Image pixels a feature pixel: that of the small BEVFusion's neck."""


class DepthLift(nn.Module):
    """Predicts a depth distribution a pixel and sums the lifted features in BEV cells."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        depth_bins: tuple[float, float, float],
        grid: BevGrid,
    ) -> None:
        super().__init__()
        self.grid = grid
        first, last, step = depth_bins
        self.depths: Tensor
        self.register_buffer("depths", torch.arange(first, last, step), persistent=False)
        depth_channels = channels_in // 4
        self.depth_input = nn.Sequential(
            conv_bn_relu(1, 8, 1, 1),
            conv_bn_relu(8, depth_channels, 5, 4),
            conv_bn_relu(depth_channels, depth_channels, 5, 2),
        )
        self.depth_net = nn.Sequential(
            conv_bn_relu(channels_in + depth_channels, channels_in, 3, 1),
            nn.Conv2d(channels_in, len(self.depths) + channels_out, 1),
        )
        self.smooth = conv_bn_relu(channels_out, channels_out, 3, 1)

    @property
    def channels_out(self) -> int:
        last = self.smooth[0]
        assert isinstance(last, nn.Conv2d)
        return last.out_channels

    def forward(
        self,
        features: Tensor,
        points: tuple[Tensor, ...],
        lidar_to_image: Tensor,
        image_size: tuple[int, int],
    ) -> Tensor:
        """features [B, N, Cin, h, w], lidar_to_image [B, N, 4, 4] -> BEV [B, C, X, Y]"""
        frames, _, _, height, width = features.shape
        depth = nearest_depth_image(points, lidar_to_image, image_size)  # [B, N, 1, H, W]
        sparse_depth = self.depth_input((depth.flatten(0, 1) / 10.0).to(features.dtype))
        x = self.depth_net(torch.cat([features.flatten(0, 1), sparse_depth], dim=1))
        num_depths = len(self.depths)
        weights = at_least_float32(x[:, :num_depths]).softmax(dim=1)  # [B*N, D, h, w]
        context = at_least_float32(x[:, num_depths:])  # [B*N, C, h, w]
        lifted = weights.unsqueeze(-1) * context.permute(0, 2, 3, 1).unsqueeze(1)
        cells = self._cells(lidar_to_image, height, width)  # [B*N*D*h*w]
        kept = cells >= 0
        side = self.grid.cells
        bev = bev_pool(lifted.flatten(0, 3)[kept], cells[kept], frames * side * side)
        out: Tensor = self.smooth(bev.view(frames, side, side, -1).permute(0, 3, 1, 2).contiguous())
        return out

    @full_precision
    def _cells(self, lidar_to_image: Tensor, height: int, width: int) -> Tensor:
        """Flat BEV cell over the batch of every lifted feature, -1 outside."""
        frames = lidar_to_image.shape[0]
        device = lidar_to_image.device
        v = (torch.arange(height, device=device, dtype=self.depths.dtype) + 0.5) * STRIDE
        u = (torch.arange(width, device=device, dtype=self.depths.dtype) + 0.5) * STRIDE
        d, vv, uu = torch.meshgrid(self.depths, v, u, indexing="ij")  # [D, h, w]
        rays = torch.stack([uu * d, vv * d, d, torch.ones_like(d)], dim=-1).view(-1, 4)
        image_to_lidar = torch.linalg.inv(lidar_to_image.double()).to(rays.dtype)
        points = (rays @ image_to_lidar.mT)[..., :3]
        grid = self.grid
        lower = (-grid.half_side_m, -grid.half_side_m, grid.z_min_m)
        size = (grid.cell_m, grid.cell_m, grid.z_max_m - grid.z_min_m)
        index = cell_index(
            points,
            torch.tensor(lower, device=device),
            torch.tensor(size, device=device),
            (grid.cells, grid.cells, 1),
        )
        frame = torch.arange(frames, device=device).view(-1, 1, 1) * grid.cells**2
        return torch.where(index >= 0, index + frame, index).flatten()


@full_precision
def nearest_depth_image(
    points: tuple[Tensor, ...], lidar_to_image: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """LiDAR depth in metres at each pixel, 0 where no point falls: [B, N, 1, H, W].

    Where several points fall on a pixel the nearest counts, so the result is deterministic.
    """
    frames, cameras = lidar_to_image.shape[:2]
    height, width = image_size
    depth = lidar_to_image.new_full((frames, cameras, height * width), torch.inf)
    for frame, cloud in enumerate(points):
        homogeneous = torch.cat([cloud[:, :3], torch.ones_like(cloud[:, :1])], dim=1)
        projected = homogeneous @ lidar_to_image[frame].mT  # [N, P, 4]
        d = projected[..., 2]
        u = projected[..., 0] / d.clamp(min=1e-3)
        v = projected[..., 1] / d.clamp(min=1e-3)
        visible = (d > 0.5) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        for camera in range(cameras):
            seen = visible[camera]
            pixel = v[camera][seen].long() * width + u[camera][seen].long()
            depth[frame, camera].scatter_reduce_(0, pixel, d[camera][seen], "amin")
    depth = torch.where(depth.isinf(), torch.zeros_like(depth), depth)
    return depth.view(frames, cameras, 1, height, width)
