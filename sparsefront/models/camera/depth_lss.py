"""BEVFusion's view transform with LiDAR: its depth image is an input of the depth network.

Shape legend: B frames, N cameras, C channels, P points, h x w feature pixels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsefront.models.camera.lift_splat import LiftGrid, LiftSplat, conv_layers
from sparsefront.models.precision import full_precision
from sparsefront.scenes.batch import SensorBatch


class DepthLss(LiftSplat):
    """Predicts depth from image features and a LiDAR depth image."""

    def __init__(self, channels_in: int, channels_out: int, grid: LiftGrid, halves: bool) -> None:
        super().__init__(grid, channels_out, halves)
        self.dtransform = nn.Sequential(
            *conv_layers(1, 8, 1, 1), *conv_layers(8, 32, 5, 4), *conv_layers(32, 64, 5, 2)
        )
        self.depthnet = nn.Sequential(
            *conv_layers(channels_in + 64, channels_in, 3, 1),
            *conv_layers(channels_in, channels_in, 3, 1),
            nn.Conv2d(channels_in, self.bins + channels_out, 1),
        )

    def forward(self, features: Tensor, batch: SensorBatch) -> Tensor:
        """features [B * N, Cin, h, w] -> BEV [B, C, X, Y]"""
        depth = depth_image(batch, self.image_size)
        near = self.dtransform(depth.flatten(0, 1).to(features.dtype))
        predicted = self.depthnet(torch.cat([near, features], dim=1))
        return self.to_bev(predicted, batch.lidar_to_image)


@full_precision
def depth_image(batch: SensorBatch, image_size: tuple[int, int]) -> Tensor:
    """LiDAR depth in metres at each pixel, 0 where no point falls: [B, N, 1, H, W].

    Where several points fall on a pixel the last one counts, as in the published code, whose depth
    is kept within 1e-5 and 1e5 m.
    """
    frames, cameras = batch.lidar_to_image.shape[:2]
    height, width = image_size
    depth = batch.lidar_to_image.new_zeros(frames, cameras, height * width)
    for frame in range(frames):
        u, v, away = project_points(batch, frame, batch.points[frame][:, :3])
        for camera, last in enumerate(last_on_pixels(u, v, image_size)):
            hit = last >= 0
            depth[frame, camera, hit] = away[camera, last[hit]]
    return depth.view(frames, cameras, 1, height, width)


def last_on_pixels(u: Tensor, v: Tensor, image_size: tuple[int, int]) -> list[Tensor]:
    """For each camera the number of the last point on every pixel [H * W], -1 where none is."""
    height, width = image_size
    seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    found = []
    for camera in range(len(u)):
        number = seen[camera].nonzero().flatten()
        pixel = v[camera, number].long() * width + u[camera, number].long()
        last = torch.full((height * width,), -1, dtype=torch.int64, device=u.device)
        found.append(last.scatter_reduce_(0, pixel, number, "amax"))
    return found


@full_precision
def project_points(batch: SensorBatch, frame: int, xyz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Projects points [P, 3] of a frame to u, v and depth [N, P]. With the calibration's parts, in
    the order of operations of the published code, so that no point rounds into another pixel.
    """
    columns = xyz.T.unsqueeze(0)  # [1, 3, P]
    parts = batch.parts
    if parts is None:
        moved = _transform(batch.lidar_to_image[frame], columns)
        away = moved[:, 2].clamp(1e-5, 1e5)
        return moved[:, 0] / away, moved[:, 1] / away, away
    move = parts.lidar[frame]
    back = torch.eye(4, dtype=move.dtype, device=move.device)
    back[:3, :3] = torch.linalg.inv(move[:3, :3])
    moved = _transform(parts.projection[frame], _transform(back[None], columns - move[:3, 3:]))
    away = moved[:, 2].clamp(1e-5, 1e5)
    flat = torch.stack([moved[:, 0] / away, moved[:, 1] / away, away], dim=1)
    pixels = _transform(parts.image[frame], flat)
    return pixels[:, 0], pixels[:, 1], away


def _transform(matrices: Tensor, columns: Tensor) -> Tensor:
    """Affine 4x4s [N, 4, 4] times [N or 1, 3, P], summed term by term: matrix libraries round
    differently from one processor to the next, and a point on a pixel's border would move.
    """
    rows = [
        matrices[:, r, 0:1] * columns[:, 0]
        + matrices[:, r, 1:2] * columns[:, 1]
        + matrices[:, r, 2:3] * columns[:, 2]
        + matrices[:, r, 3:4]
        for r in range(3)
    ]
    return torch.stack(rows, dim=1)
