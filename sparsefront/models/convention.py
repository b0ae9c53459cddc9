"""Describes, as data, boxes and images inside the networks of other code bases.

Ours: length, width, height; yaw of the length axis counter-clockwise from +x; z of the centre;
images RGB, (x / 255 - ImageNet mean) / ImageNet std.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Convention:
    """Of boxes and images inside a network; the defaults are mit-han-lab/bevfusion's.

    size     order of a box's sides
    yaw      clockwise: from -y; counter_clockwise: of the length axis from +x
    height   what the network predicts: the top (centre + half the height) or the centre
    colours  order of an image's channels
    mean, std  of images in 0..1, in that order
    """

    size: Literal["width_length", "length_width"] = "width_length"
    yaw: Literal["clockwise", "counter_clockwise"] = "clockwise"
    height: Literal["top", "centre"] = "top"
    colours: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def encode(self, boxes: Tensor) -> Tensor:
        """Our boxes [M, 9] in the network's convention; z stays the centre's."""
        return self._turn(boxes)

    def decode(self, boxes: Tensor) -> Tensor:
        """The inverse of encode; every change is its own inverse."""
        return self._turn(boxes)

    def images(self, images: Tensor) -> Tensor:
        """Images [..., 3, H, W] of a SensorBatch as the network was trained on them."""
        same = (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD)
        if same and self.colours == "RGB":
            return images
        raw = images * _column(IMAGENET_STD, images) + _column(IMAGENET_MEAN, images)
        if self.colours == "BGR":
            raw = raw.flip(-3)
        return (raw - _column(self.mean, images)) / _column(self.std, images)

    def _turn(self, boxes: Tensor) -> Tensor:
        size = boxes[:, [4, 3, 5]] if self.size == "width_length" else boxes[:, 3:6]
        yaw = boxes[:, 6:7]
        if self.yaw == "clockwise":
            yaw = -yaw - math.pi / 2
        return torch.cat([boxes[:, :3], size, yaw, boxes[:, 7:]], dim=1)


MIT = Convention()
"""mit-han-lab/bevfusion, the current weights."""

CAFFE = Convention(colours="BGR", mean=(103.530 / 255, 116.280 / 255, 123.675 / 255),
                   std=(1 / 255, 1 / 255, 1 / 255))  # fmt: skip
"""The same, weights of the first release."""

LENGTH_FIRST = Convention(size="length_width", yaw="counter_clockwise", height="centre")
"""mmdetection3d 1.x and OpenPCDet."""

CENTRED = Convention(height="centre")
"""mmdetection3d before 1.0, and ADLab's BEVFusion on it."""


def _column(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(3, 1, 1)
