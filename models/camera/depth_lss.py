"""BEVFusion's view transform at full size: a depth image as input, lift, splat, downsample.

Shape legend: B frames, N cameras, D depth bins, C channels, h x w feature pixels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.camera.bev_pool import bev_pool, cell_index
from models.precision import at_least_float32
from scenes.batch import SensorBatch

Bounds = tuple[float, float, float]
"""First, last (excluded) and step, in metres."""


class LiftGeometry(nn.Module):
    """Where each pixel at each depth lies in the LiDAR frame, and in which cell.

    dx, bx and nx are the cell size, the centre of the first cell and the number of cells; frustum
    [D, h, w, 3] has the pixels (u, v) and depths d. All follow from the configuration and are no
    part of our state dicts.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        feature_size: tuple[int, int],
        x: Bounds,
        y: Bounds,
        z: Bounds,
        depth: Bounds,
    ) -> None:
        super().__init__()
        axes = (x, y, z)
        step = torch.tensor([b[2] for b in axes])
        first = torch.tensor([b[0] + b[2] / 2 for b in axes])
        count = torch.tensor([round((b[1] - b[0]) / b[2]) for b in axes])
        frustum = pixels_at_depths(image_size, feature_size, depth)
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

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
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


class DepthLss(nn.Module):
    """Predicts depth from image features and a LiDAR depth image; sums features in BEV cells."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        image_size: tuple[int, int],
        feature_size: tuple[int, int],
        x: Bounds = (-54.0, 54.0, 0.3),
        y: Bounds = (-54.0, 54.0, 0.3),
        z: Bounds = (-10.0, 10.0, 20.0),
        depth: Bounds = (1.0, 60.0, 0.5),
    ) -> None:
        super().__init__()
        self.geometry = LiftGeometry(image_size, feature_size, x, y, z, depth)
        self.image_size = image_size
        self.bins = len(self.geometry.frustum)
        self.dtransform = nn.Sequential(
            *_conv(1, 8, 1, 1), *_conv(8, 32, 5, 4), *_conv(32, 64, 5, 2)
        )
        self.depthnet = nn.Sequential(
            *_conv(channels_in + 64, channels_in, 3, 1),
            *_conv(channels_in, channels_in, 3, 1),
            nn.Conv2d(channels_in, self.bins + channels_out, 1),
        )
        self.downsample = nn.Sequential(
            *_conv(channels_out, channels_out, 3, 1, bias=False),
            *_conv(channels_out, channels_out, 3, 2, bias=False),
            *_conv(channels_out, channels_out, 3, 1, bias=False),
        )

    @property
    def channels_out(self) -> int:
        last = self.downsample[6]
        assert isinstance(last, nn.Conv2d)
        return last.out_channels

    def forward(self, features: Tensor, batch: SensorBatch) -> Tensor:
        """features [B * N, Cin, h, w] -> BEV [B, C, X / 2, Y / 2]"""
        depth = depth_image(batch, self.image_size)
        near = self.dtransform(depth.flatten(0, 1).to(features.dtype))
        x = self.depthnet(torch.cat([near, features], dim=1))
        probability = at_least_float32(x[:, : self.bins]).softmax(dim=1)
        context = at_least_float32(x[:, self.bins :])
        pooled = self.splat(probability, context, batch.lidar_to_image)
        out: Tensor = self.downsample(pooled)
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


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def depth_image(batch: SensorBatch, image_size: tuple[int, int]) -> Tensor:
    """LiDAR depth in metres at each pixel, 0 where no point falls: [B, N, 1, H, W].

    Where several points fall on a pixel the last one counts, as in the published code, whose depth
    is kept within 1e-5 and 1e5 m.
    """
    frames, cameras = batch.lidar_to_image.shape[:2]
    height, width = image_size
    depth = batch.lidar_to_image.new_zeros(frames, cameras, height * width)
    for frame in range(frames):
        u, v, away = _projected(batch, frame)
        seen = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        for camera in range(cameras):
            number = seen[camera].nonzero().flatten()
            pixel = v[camera, number].long() * width + u[camera, number].long()
            last = torch.full_like(depth[frame, camera], -1, dtype=torch.int64)
            last.scatter_reduce_(0, pixel, number, "amax")
            hit = last >= 0
            depth[frame, camera, hit] = away[camera, last[hit]]
    return depth.view(frames, cameras, 1, height, width)


def _projected(batch: SensorBatch, frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """u, v and depth [N, P] of a frame's points. With the calibration's parts, in the order of
    operations of the published code, so that no point rounds into another pixel.
    """
    xyz = batch.points[frame][:, :3].T.unsqueeze(0)  # [1, 3, P]
    parts = batch.parts
    if parts is None:
        moved = _times(batch.lidar_to_image[frame], xyz)
        away = moved[:, 2].clamp(1e-5, 1e5)
        return moved[:, 0] / away, moved[:, 1] / away, away
    move = parts.lidar[frame]
    back = torch.eye(4, dtype=move.dtype, device=move.device)
    back[:3, :3] = torch.linalg.inv(move[:3, :3])
    moved = _times(parts.projection[frame], _times(back[None], xyz - move[:3, 3:]))
    away = moved[:, 2].clamp(1e-5, 1e5)
    flat = torch.stack([moved[:, 0] / away, moved[:, 1] / away, away], dim=1)
    pixels = _times(parts.image[frame], flat)
    return pixels[:, 0], pixels[:, 1], away


def _times(matrices: Tensor, columns: Tensor) -> Tensor:
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


def _conv(
    channels_in: int, channels_out: int, kernel: int, stride: int, bias: bool = True
) -> tuple[nn.Module, nn.Module, nn.Module]:
    return (
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
