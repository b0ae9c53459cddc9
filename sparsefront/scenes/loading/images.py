"""Camera images: decoded, resized and cropped to the network's input, normalised."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, gcd
from pathlib import Path

import cv2
import numba
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from sparsefront.errors import InputError
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.geometry import Array

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
LEVELS = (np.arange(256, dtype=np.float32)[:, None] / 255 - IMAGENET_MEAN) / IMAGENET_STD
"""[256, 3]: what each 8-bit level of each channel becomes."""
AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
REACH = 3
"""Output rows that the bicubic filter reaches to each side, and one to spare."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Network input: images are resized to `width`, then cropped to `height`.

    crop_top  share of the rows to be cut that is cut at the top (the sky)
    scale     resize by this instead (bicubic, as the published BEVFusion: 0.48 of 1600 x 900), then
              crop as many columns on the left as on the right
    """

    height: int = 96
    width: int = 256
    crop_top: float = 0.8
    scale: float | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if value < 16 or value % 16:
                raise InputError(f"{name}: value {value}; allowed: a multiple of 16")
        if not 0.0 <= self.crop_top <= 1.0:
            raise InputError(f"crop_top: value {self.crop_top}; allowed: 0..1")
        if self.scale is not None and not 0.0 < self.scale <= 4.0:
            raise InputError(f"scale: value {self.scale}; allowed: above 0, up to 4")


def decode(path: Path, size: NDArray[np.int32] | None = None) -> Pixels:
    """[H, W, 3] RGB of an image file. BadSample naming the file where it is missing, damaged, or
    not of `size` (width, height; 0 where not known).
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BadSample(f"{path}: {error.strerror or error}") from error
    pixels = cv2.imdecode(content, AS_STORED) if len(content) else None
    if pixels is None:
        raise BadSample(f"{path}: not a whole image ({len(content)} bytes)")
    found = pixels.shape[1], pixels.shape[0]
    if size is not None and size.all() and found != tuple(size):
        raise BadSample(
            f"{path}: {found[0]} x {found[1]} pixels; the tables say {size[0]} x {size[1]}"
        )
    return np.asarray(pixels)


def fit(image: Pixels, spec: ImageSpec) -> tuple[Pixels, Array]:
    """Resized and cropped pixels [height, width, 3], and the 4x4 of stored -> input pixels."""
    high, wide = image.shape[:2]
    if spec.scale is None:
        scale = spec.width / wide
        columns, rows = spec.width, round(high * scale)
        matrix = np.diag([scale, rows / high, 1.0, 1.0])
    else:
        scale = spec.scale
        columns, rows = int(wide * scale), int(high * scale)
        matrix = np.diag([scale, scale, 1.0, 1.0])
    for name, value, most in (("height", spec.height, rows), ("width", spec.width, columns)):
        if value > most:
            raise InputError(
                f"image.{name}: value {value}; allowed: at most {most} of an image of "
                f"{columns} x {rows}"
            )
    top, left = round((rows - spec.height) * spec.crop_top), (columns - spec.width) // 2
    matrix[:2, 2] = -left, -top
    if spec.scale is None:
        whole = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
        return np.asarray(whole)[top : top + spec.height], matrix
    resized = _bicubic_rows(image, (rows, columns), top, spec.height)
    return resized[:, left : left + spec.width], matrix


def _bicubic_rows(image: Pixels, size: tuple[int, int], top: int, height: int) -> Pixels:
    """Rows top .. top + height of the image resized to `size`, antialiased, within one level of
    Pillow's and several times as fast on full-size images. Rows that they do not depend on are cut
    first, where both grids line up.
    """
    high, (rows, columns) = image.shape[0], size
    common = gcd(high, rows)
    step = rows // common
    first = max(0, (top - REACH) // step)
    last = min(common, ceil((top + height + REACH) / step))
    part = image[first * (high // common) : last * (high // common)]
    pixels = torch.from_numpy(part).permute(2, 0, 1)[None]
    found = interpolate(
        pixels, ((last - first) * step, columns), mode="bicubic", antialias=True,
        align_corners=False,
    )  # fmt: skip
    from_row = top - first * step
    return np.asarray(found[0].permute(1, 2, 0).numpy()[from_row : from_row + height])


def warp(image: Pixels, matrix: Array) -> Pixels:
    """The image after a 3x3 affine map of its pixels; black where nothing was."""
    inverse = np.linalg.inv(matrix)[:2].ravel()
    size = (image.shape[1], image.shape[0])
    moved = Image.fromarray(image).transform(
        size, Image.Transform.AFFINE, tuple(inverse), Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def normalise(images: list[Pixels], out: torch.Tensor) -> None:
    """Writes images [H, W, 3] to out [N, 3, H, W] float32, by ImageNet's mean and deviation."""
    for image, place in zip(images, out.numpy(), strict=True):
        _look_up(image, LEVELS, place)


@numba.njit(cache=True)
def _look_up(image: Pixels, levels: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for channel in range(3):
        for row in range(image.shape[0]):
            for column in range(image.shape[1]):
                out[channel, row, column] = levels[image[row, column, channel], channel]
