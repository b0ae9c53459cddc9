"""BEVDepth's view transforms (Li et al., AAAI 2023) as in the published BEVFusion: the depth
network knows each camera's calibration and is trained on LiDAR depths.

Shape legend: B frames, N cameras, D depth bins, C channels, h x w feature pixels, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models.camera.depth_lss import depth_image, last_on_pixels, project_points
from sparsefront.models.camera.lift_splat import LiftGrid, LiftSplat, conv_layers
from sparsefront.models.camera.resnet import BasicBlock
from sparsefront.models.precision import full_precision
from sparsefront.scenes.batch import SensorBatch

CALIBRATION = 27
"""Numbers of a camera's calibration (calibration_inputs)."""
DEPTH_WEIGHT = 3.0
"""Of the depth loss in the task loss, as published."""
HEIGHTS_M = torch.arange(0.25, 2.25, 0.25)
"""A radar point has no height: it is lifted at each of these."""


class Mlp(nn.Module):
    """Two linear layers with ReLU between."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels_in, channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.fc1(x).relu())
        return out


class CameraGate(nn.Module):
    """Weights channels by the calibration (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, calibration: Tensor) -> Tensor:
        out: Tensor = x * self.conv_expand(self.conv_reduce(calibration).relu()).sigmoid()
        return out


class AtrousConv(nn.Module):
    """A dilated convolution of the same size, batch norm, ReLU."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = 0 if kernel == 1 else dilation
        self.atrous_conv = nn.Conv2d(
            channels, channels, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.atrous_conv(x)).relu()
        return out


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., 2017) with dilations 1, 6, 12, 18."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.aspp1 = AtrousConv(channels, 1, 1)
        self.aspp2 = AtrousConv(channels, 3, 6)
        self.aspp3 = AtrousConv(channels, 3, 12)
        self.aspp4 = AtrousConv(channels, 3, 18)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels), nn.ReLU(),
        )  # fmt: skip
        self.conv1 = nn.Conv2d(5 * channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        near = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x)]
        whole = self.global_avg_pool(x)
        whole = F.interpolate(whole, size=x.shape[2:], mode="bilinear", align_corners=True)
        out: Tensor = self.dropout(self.bn1(self.conv1(torch.cat([*near, whole], dim=1))).relu())
        return out


class CameraAwareDepthNet(nn.Module):
    """Features and calibration [B * N, 27] to depth logits and context [B * N, D + C, h, w]."""

    def __init__(self, channels_in: int, channels: int, context: int, bins: int) -> None:
        super().__init__()
        self.reduce_conv = nn.Sequential(*conv_layers(channels_in, channels, 3, 1))
        self.context_conv = nn.Conv2d(channels, context, 1)
        self.bn = nn.BatchNorm1d(CALIBRATION)
        self.depth_mlp, self.context_mlp = Mlp(CALIBRATION, channels), Mlp(CALIBRATION, channels)
        self.depth_se, self.context_se = CameraGate(channels), CameraGate(channels)
        self.depth_conv_1 = nn.Sequential(*(BasicBlock(channels, channels, 1) for _ in range(3)))
        self.depth_conv_2 = nn.Sequential(
            Aspp(channels), nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        )
        self.depth_conv_3 = nn.Sequential(nn.Conv2d(channels, bins, 1), nn.BatchNorm2d(bins))

    def forward(self, features: Tensor, calibration: Tensor) -> Tensor:
        x = self.reduce_conv(features)
        numbers = self.bn(calibration.to(x.dtype))
        context = self.context_se(x, self.context_mlp(numbers)[..., None, None])
        depth = self.depth_se(x, self.depth_mlp(numbers)[..., None, None])
        depth = self.depth_conv_3(self.depth_conv_2(self.depth_conv_1(depth)))
        return torch.cat([depth, self.context_conv(context)], dim=1)


class BevDepth(LiftSplat):
    """Depth from the image and the calibration."""

    entering = 0
    """Channels that enter the depth network beside the image's."""

    def __init__(self, channels_in: int, channels_out: int, grid: LiftGrid, halves: bool) -> None:
        super().__init__(grid, channels_out, halves)
        self.bounds = grid.depth
        self.stride = grid.image_size[0] // grid.feature_size[0]
        self.depthnet = CameraAwareDepthNet(
            channels_in + self.entering, channels_in, channels_out, self.bins
        )

    def forward(self, features: Tensor, batch: SensorBatch) -> Tensor:
        """features [B * N, Cin, h, w] -> BEV [B, C, X, Y]"""
        return self.to_bev(self.predict_depth(features, batch), batch.lidar_to_image)

    def predict_depth(self, features: Tensor, batch: SensorBatch) -> Tensor:
        """Depth logits and context [B * N, D + C, h, w]"""
        out: Tensor = self.depthnet(features, calibration_inputs(batch))
        return out

    @full_precision
    def depth_loss(self, logits: Tensor, batch: SensorBatch) -> Tensor:
        """Binary cross entropy of the distributions [B * N, D, h, w] against the bin of the nearest
        LiDAR point of the key frame in each feature pixel, a mean over pixels that have one.
        """
        wanted = nearest_bins(keyframe_depth(batch, self.image_size), self.stride, self.bounds)
        has = wanted > 0
        chosen = logits.float().softmax(1).permute(0, 2, 3, 1)[has]
        goal = F.one_hot(wanted[has] - 1, self.bins).float()
        loss = F.binary_cross_entropy(chosen, goal, reduction="sum")
        return DEPTH_WEIGHT * loss / has.sum().clamp(min=1)


class RadarBevDepth(BevDepth):
    """The same with radar: bins and fields of radar points on their pixels enter as well."""

    entering = 64

    def __init__(
        self, channels_in: int, channels_out: int, grid: LiftGrid, halves: bool, radar_fields: int
    ) -> None:
        super().__init__(channels_in, channels_out, grid, halves)
        fields = self.bins + radar_fields
        last = 2 if self.stride == 16 else 1
        self.dtransform = nn.Sequential(
            *conv_layers(fields, 32, 1, 1), *conv_layers(32, 32, 5, 4),
            *conv_layers(32, 64, 5, 2), *conv_layers(64, 64, 5, last),
        )  # fmt: skip

    def predict_depth(self, features: Tensor, batch: SensorBatch) -> Tensor:
        seen = radar_image(batch, self.image_size, self.bins).flatten(0, 1).to(features.dtype)
        entering = torch.cat([self.dtransform(seen), features], dim=1)
        out: Tensor = self.depthnet(entering, calibration_inputs(batch))
        return out


def calibration_inputs(batch: SensorBatch) -> Tensor:
    """[B * N, 27]: fx, fy, cx, cy; image augmentation (2 x 2 and shift, by rows); LiDAR
    augmentation (its x-y block and z scale); camera to ego (3 x 4). InputError without them.
    """
    parts = batch.parts
    if parts is None or parts.intrinsics is None or parts.camera_to_ego is None:
        raise InputError("batch: no intrinsics; allowed: batches with calibration parts")
    k, image = parts.intrinsics, parts.image
    moved = parts.lidar.unsqueeze(1).expand(-1, image.shape[1], -1, -1)
    numbers = [k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2]]
    numbers += [image[..., r, c] for r in (0, 1) for c in (0, 1, 3)]
    numbers += [moved[..., r, c] for r, c in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 2))]
    pose = parts.camera_to_ego[..., :3, :].flatten(2)
    return torch.cat([torch.stack(numbers, dim=-1), pose], dim=-1).flatten(0, 1)


def keyframe_depth(batch: SensorBatch, image_size: tuple[int, int]) -> Tensor:
    """depth_image of the points of no age."""
    now = tuple(p[p[:, 4] == 0] for p in batch.points)
    return depth_image(batch.with_points(now), image_size)


def nearest_bins(depth: Tensor, stride: int, bounds: tuple[float, float, float]) -> Tensor:
    """Depth images [B, N, 1, H, W] -> 1 + bin of the nearest point in each patch, 0 where there is
    none within the bounds: int64 [B * N, h, w].
    """
    flat = depth.flatten(0, 2)
    patches = flat.unflatten(2, (-1, stride)).unflatten(1, (-1, stride))  # [B N, h, s, w, s]
    far = torch.where(patches == 0, patches.new_tensor(1e5), patches)
    nearest = far.amin(dim=(2, 4))
    first, last, step = bounds
    index = (nearest - (first - step)) / step
    count = len(torch.arange(first, last, step))
    return torch.where((index < count + 1) & (index >= 0), index, torch.zeros_like(index)).long()


@full_precision
def radar_image(batch: SensorBatch, image_size: tuple[int, int], bins: int) -> Tensor:
    """Radar on pixels [B, N, bins + F, H, W]: the bin (whole metres) of each point that falls on a
    pixel, and the F fields of the last one. Points stand at eight heights.
    """
    if batch.radar is None:
        raise InputError("batch: no radar; allowed: batches with radar points")
    frames, cameras = batch.lidar_to_image.shape[:2]
    height, width = image_size
    fields = batch.radar[0].shape[1]
    image = batch.lidar_to_image.new_zeros(frames, cameras, bins + fields, height * width)
    for frame, points in enumerate(batch.radar):
        raised = points.repeat_interleave(len(HEIGHTS_M), dim=0)
        raised[:, 2] = HEIGHTS_M.to(points).repeat(len(points))
        u, v, away = project_points(batch, frame, raised[:, :3])
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        for camera, last in enumerate(last_on_pixels(u, v, image_size)):
            seen = inside[camera]
            pixel = v[camera, seen].long() * width + u[camera, seen].long()
            image[frame, camera, away[camera, seen].clamp(max=bins - 1).long(), pixel] = 1.0
            hit = last >= 0
            image[frame, camera, bins:, hit] = raised[last[hit]].T
    return image.unflatten(3, (height, width))
