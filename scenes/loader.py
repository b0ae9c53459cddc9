"""From frames on disk to SensorBatch: decode, resize, crop, augment, collate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scenes.augment import AugmentSpec, draw_image_matrix, draw_lidar_matrix, move_boxes
from scenes.batch import CalibrationParts, SensorBatch, Targets
from scenes.geometry import Array, lidar_to_image, transform
from scenes.kitti import KittiScenes
from scenes.nuscenes import Frame, NuScenesScenes

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
CACHE_BYTES = 2 << 30
"""Decoded frames kept per set of scenes; epochs and trials read the same frames again."""

__all__ = ["AugmentSpec", "ImageSpec", "Loader", "collate"]


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
                raise ValueError(f"{name}: value {value}; allowed: a multiple of 16")
        if not 0.0 <= self.crop_top <= 1.0:
            raise ValueError(f"crop_top: value {self.crop_top}; allowed: 0..1")
        if self.scale is not None and not 0.0 < self.scale <= 4.0:
            raise ValueError(f"scale: value {self.scale}; allowed: above 0, up to 4")


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """A frame with its images [N, height, width, 3] uint8, the projections to stored images
    [N, 4, 4] and the 4x4 of stored -> input pixels, which acts on (u d, v d, d, 1).
    """

    frame: Frame
    images: NDArray[np.uint8]
    projection: Array
    resize: Array


class Loader:
    """Batches of a set of scenes. Each `iter` is the next epoch; all follows (seed, epoch)."""

    def __init__(
        self,
        scenes: NuScenesScenes | KittiScenes,
        image: ImageSpec,
        augment: AugmentSpec | None,
        batch_size: int,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
    ) -> None:
        self.scenes = scenes
        self.image = image
        self.augment = augment
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self._epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.scenes.tokens), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[SensorBatch]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        order = np.arange(len(self.scenes.tokens))
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield collate([self._sample(int(index), epoch) for index in chosen])

    def sample(self, index: int) -> SensorBatch:
        """One frame as a batch of 1, not augmented."""
        return _plain(self._decoded(self.scenes.tokens[index]))

    def _sample(self, index: int, epoch: int) -> SensorBatch:
        decoded = self._decoded(self.scenes.tokens[index])
        if self.augment is None:
            return _plain(decoded)
        random = np.random.default_rng([self.seed, epoch, index, 1])
        return _augmented(decoded, self.augment, random)

    def _decoded(self, token: str) -> _Decoded:
        cache = self.scenes.cache
        key = (token, self.image)
        found = cache.get(key)
        if isinstance(found, _Decoded):
            return found
        decoded = _decode(self.scenes.frame(token), self.image)
        size = decoded.images.nbytes + decoded.frame.points.nbytes
        if size * (len(cache) + 1) < CACHE_BYTES:
            cache[key] = decoded
        return decoded


def collate(samples: Sequence[SensorBatch]) -> SensorBatch:
    """Batches of one size of image, joined along the frames."""
    return SensorBatch(
        images=torch.cat([s.images for s in samples]),
        points=tuple(p for s in samples for p in s.points),
        lidar_to_image=torch.cat([s.lidar_to_image for s in samples]),
        lidar_to_global=torch.cat([s.lidar_to_global for s in samples]),
        targets=tuple(t for s in samples for t in s.targets),
        tokens=tuple(t for s in samples for t in s.tokens),
        parts=_joined([s.parts for s in samples if s.parts is not None], len(samples)),
        radar=_joined_clouds(samples),
    )


def _joined(parts: Sequence[CalibrationParts], samples: int) -> CalibrationParts | None:
    if len(parts) < samples:
        return None
    return CalibrationParts(
        projection=torch.cat([p.projection for p in parts]),
        image=torch.cat([p.image for p in parts]),
        lidar=torch.cat([p.lidar for p in parts]),
        intrinsics=_cat([p.intrinsics for p in parts]),
        camera_to_ego=_cat([p.camera_to_ego for p in parts]),
    )


def _cat(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    known = [t for t in tensors if t is not None]
    return torch.cat(known) if len(known) == len(tensors) else None


def _joined_clouds(samples: Sequence[SensorBatch]) -> tuple[torch.Tensor, ...] | None:
    clouds = [cloud for s in samples if s.radar is not None for cloud in s.radar]
    return tuple(clouds) if len(clouds) == len(samples) else None


def _decode(frame: Frame, spec: ImageSpec) -> _Decoded:
    images, projections, resizes = [], [], []
    cameras = zip(frame.image_paths, frame.intrinsics, frame.lidar_to_camera, strict=True)
    for path, intrinsic, to_camera in cameras:
        with Image.open(path) as stored:
            pixels, resize = _fit(stored.convert("RGB"), spec)
        images.append(pixels)
        projections.append(lidar_to_image(intrinsic, to_camera))
        resizes.append(resize)
    return _Decoded(
        frame=frame, images=np.stack(images), projection=np.stack(projections),
        resize=np.stack(resizes),
    )  # fmt: skip


def _fit(image: Image.Image, spec: ImageSpec) -> tuple[NDArray[np.uint8], Array]:
    """Resized and cropped pixels [height, width, 3], and the 4x4 of stored -> input pixels."""
    if spec.scale is None:
        scale, sampling = spec.width / image.width, Image.Resampling.BILINEAR
        columns, rows = spec.width, round(image.height * scale)
        matrix = np.diag([scale, rows / image.height, 1.0, 1.0])
    else:
        scale, sampling = spec.scale, Image.Resampling.BICUBIC
        columns, rows = int(image.width * scale), int(image.height * scale)
        matrix = np.diag([scale, scale, 1.0, 1.0])
    for name, value, most in (("height", spec.height, rows), ("width", spec.width, columns)):
        if value > most:
            raise ValueError(
                f"image.{name}: value {value}; allowed: at most {most} of an image of "
                f"{columns} x {rows}"
            )
    top, left = round((rows - spec.height) * spec.crop_top), (columns - spec.width) // 2
    resized = np.asarray(image.resize((columns, rows), sampling))
    matrix[:2, 2] = -left, -top
    return resized[top : top + spec.height, left : left + spec.width].copy(), matrix


def _plain(decoded: _Decoded) -> SensorBatch:
    frame = decoded.frame
    still = np.eye(4)
    return _batch(decoded, decoded.images, still[None], still, frame.points, frame.boxes)


def _augmented(decoded: _Decoded, spec: AugmentSpec, random: np.random.Generator) -> SensorBatch:
    frame = decoded.frame
    move = draw_lidar_matrix(spec, random)
    height, width = decoded.images.shape[1:3]
    images, matrices = [], []
    for image in decoded.images:
        pixels = draw_image_matrix(spec, height, width, random)
        images.append(_warp(image, pixels))
        wide = np.eye(4)
        wide[:3, :3] = pixels
        matrices.append(wide)
    points = frame.points.copy()
    points[:, :3] = transform(move, points[:, :3].astype(np.float64))
    boxes = move_boxes(move, frame.boxes)
    return _batch(decoded, np.stack(images), np.stack(matrices), move, points, boxes)


def _warp(image: NDArray[np.uint8], matrix: Array) -> NDArray[np.uint8]:
    """Image after a 3x3 affine of its pixels; black where nothing was."""
    inverse = np.linalg.inv(matrix)[:2].ravel()
    size = (image.shape[1], image.shape[0])
    moved = Image.fromarray(image).transform(
        size, Image.Transform.AFFINE, tuple(inverse), Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def _batch(
    decoded: _Decoded,
    images: NDArray[np.uint8],
    warp: Array,
    move: Array,
    points: NDArray[np.float32],
    boxes: Array,
) -> SensorBatch:
    frame = decoded.frame
    normalised = (images.astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    matrices = warp @ (decoded.resize @ decoded.projection) @ np.linalg.inv(move)
    return SensorBatch(
        images=torch.from_numpy(normalised).permute(0, 3, 1, 2).contiguous()[None],
        points=(torch.from_numpy(points),),
        lidar_to_image=torch.from_numpy(matrices).float()[None],
        lidar_to_global=torch.from_numpy(frame.lidar_to_global)[None],
        targets=(
            Targets(boxes=torch.from_numpy(boxes).float(), labels=torch.from_numpy(frame.labels)),
        ),
        tokens=(frame.token,),
        parts=CalibrationParts(
            projection=torch.from_numpy(decoded.projection).float()[None],
            image=torch.from_numpy(_shift_last(warp @ decoded.resize)).float()[None],
            lidar=torch.from_numpy(move).float()[None],
            intrinsics=torch.from_numpy(decoded.frame.intrinsics).float()[None],
            camera_to_ego=torch.from_numpy(decoded.frame.camera_to_ego).float()[None],
        ),
    )


def _shift_last(pixels: Array) -> Array:
    """4x4 on (u d, v d, d, 1) -> 4x4 on (u, v, 1, 1) with the shift in the last column."""
    found = pixels.copy()
    found[:, :3, 3], found[:, :2, 2] = pixels[:, :3, 2] - np.eye(3)[2], 0
    return found
