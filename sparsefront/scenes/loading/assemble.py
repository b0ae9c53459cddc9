"""From a frame to a batch of one: images decoded, everything augmented by matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparsefront.scenes.batch import CalibrationParts, SensorBatch, Targets
from sparsefront.scenes.frame import Frame
from sparsefront.scenes.geometry import Array, lidar_to_image, transform
from sparsefront.scenes.loading.augment import (
    AugmentSpec,
    draw_image_matrix,
    draw_lidar_matrix,
    move_boxes,
)
from sparsefront.scenes.loading.collate import collate
from sparsefront.scenes.loading.images import ImageSpec, Pixels, decode, fit, normalise, warp
from sparsefront.scenes.radar.points import move_radar


@dataclass(frozen=True, kw_only=True)
class DecodedFrame:
    """A frame with its images [height, width, 3] uint8, the projections to stored images
    [N, 4, 4] and the 4x4 of stored -> input pixels, which acts on (u d, v d, d, 1).
    """

    frame: Frame
    images: list[Pixels]
    projection: Array
    resize: Array

    @property
    def nbytes(self) -> int:
        radar = 0 if self.frame.radar is None else self.frame.radar.nbytes
        return sum(i.nbytes for i in self.images) + self.frame.points.nbytes + radar


def decode_frame(frame: Frame, spec: ImageSpec) -> DecodedFrame:
    """Decodes, resizes and crops the images. BadSample naming one that is missing or damaged."""
    fitted = [
        fit(decode(path, size), spec)
        for path, size in zip(frame.image_paths, frame.image_sizes, strict=True)
    ]
    projections = [
        lidar_to_image(intrinsic, to_camera)
        for intrinsic, to_camera in zip(frame.intrinsics, frame.lidar_to_camera, strict=True)
    ]
    return DecodedFrame(
        frame=frame, images=[pixels for pixels, _ in fitted], projection=np.stack(projections),
        resize=np.stack([matrix for _, matrix in fitted]),
    )  # fmt: skip


def assemble(
    frames: Sequence[DecodedFrame], spec: AugmentSpec | None, randoms: Sequence[np.random.Generator]
) -> SensorBatch:
    """Makes a batch of frames with images of one size, augmented where there is a spec."""
    height, width = frames[0].images[0].shape[:2]
    images = torch.empty(len(frames), len(frames[0].images), 3, height, width)
    samples = [
        batch_as_is(frame, place) if spec is None else augment_frame(frame, spec, random, place)
        for frame, random, place in zip(frames, randoms, images.split(1), strict=True)
    ]
    return collate(samples, images)


def batch_as_is(found: DecodedFrame, out: torch.Tensor) -> SensorBatch:
    """A batch of the frame without augmentation; its images are written to out [1, N, 3, H, W]."""
    frame, still = found.frame, np.eye(4)
    normalise(found.images, out[0])
    return _batch(found, out, still[None], still, frame.points, frame.boxes, frame.labels)


def augment_frame(
    found: DecodedFrame, spec: AugmentSpec, random: np.random.Generator, out: torch.Tensor
) -> SensorBatch:
    """The same, images and LiDAR frame moved by drawn matrices that the calibration contains."""
    frame = found.frame
    move = draw_lidar_matrix(spec, random)
    height, width = found.images[0].shape[:2]
    images, matrices = [], []
    for image in found.images:
        pixels = draw_image_matrix(spec, height, width, random)
        images.append(warp(image, pixels))
        wide = np.eye(4)
        wide[:3, :3] = pixels
        matrices.append(wide)
    points = frame.points.copy()
    points[:, :3] = transform(move, points[:, :3].astype(np.float64))
    boxes = move_boxes(move, frame.boxes)
    normalise(images, out[0])
    return _batch(found, out, np.stack(matrices), move, points, boxes, frame.labels)


def _batch(
    found: DecodedFrame,
    images: torch.Tensor,
    warped: Array,
    move: Array,
    points: NDArray[np.float32],
    boxes: Array,
    labels: NDArray[np.int64],
) -> SensorBatch:
    frame = found.frame  # its arrays may be mapped: they are copied, never written to
    matrices = warped @ (found.resize @ found.projection) @ np.linalg.inv(move)
    radar = None if frame.radar is None else (torch.from_numpy(move_radar(move, frame.radar)),)
    maps = None
    if frame.map_layers is not None:
        maps = torch.from_numpy(frame.map_layers.raster(frame.lidar_to_global, move))
    targets = Targets(boxes=torch.tensor(boxes).float(), labels=torch.tensor(labels), maps=maps)
    return SensorBatch(
        images=images,
        points=(torch.tensor(points),),
        lidar_to_image=torch.from_numpy(matrices).float()[None],
        lidar_to_global=torch.tensor(frame.lidar_to_global)[None],
        targets=(targets,),
        tokens=(frame.token,),
        radar=radar,
        parts=CalibrationParts(
            projection=torch.tensor(found.projection).float()[None],
            image=torch.from_numpy(_shift_last(warped @ found.resize)).float()[None],
            lidar=torch.from_numpy(move).float()[None],
            intrinsics=torch.tensor(frame.intrinsics).float()[None],
            camera_to_ego=torch.tensor(frame.camera_to_ego).float()[None],
        ),
    )


def _shift_last(pixels: Array) -> Array:
    """4x4 on (u d, v d, d, 1) -> 4x4 on (u, v, 1, 1) with the shift in the last column."""
    found = pixels.copy()
    found[:, :3, 3], found[:, :2, 2] = pixels[:, :3, 2] - np.eye(3)[2], 0
    return found
