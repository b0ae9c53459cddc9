"""Augmentation lives in the matrices: image, points, boxes and matrices move together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.scenes.geometry import transform
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.loading.augment import (
    AugmentSpec,
    draw_image_matrix,
    draw_lidar_matrix,
    move_boxes,
)
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec


@pytest.fixture(scope="module")
def scenes(tiny_root: Path) -> NuScenesScenes:
    return NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version="v1.0-procedural", split="procedural_train")
    )


def test_points_stay_on_their_pixels(scenes: NuScenesScenes) -> None:
    """A point's pixel after augmentation is its plain pixel moved by the image's own matrix."""
    image, spec = ImageSpec(height=96, width=256), AugmentSpec()
    plain = Loader(scenes, image, None, 2, shuffle=False, seed=5)
    moved = Loader(scenes, image, spec, 2, shuffle=False, seed=5)
    before, after = next(iter(plain)), next(iter(moved))
    for frame in range(2):
        random = np.random.default_rng([5, 0, frame, 1])
        move = draw_lidar_matrix(spec, random)
        expected = transform(move, before.points[frame][:, :3].double().numpy())
        assert after.points[frame][:, :3].numpy() == pytest.approx(expected, abs=1e-4)
        for camera in range(6):
            pixels = draw_image_matrix(spec, 96, 256, random)
            old, depth = _pixels(before.lidar_to_image[frame, camera], before.points[frame])
            new, new_depth = _pixels(after.lidar_to_image[frame, camera], after.points[frame])
            ahead = depth > 2
            turned = torch.cat([old, torch.ones(len(old), 1).double()], 1) @ torch.tensor(pixels).T
            near = ahead & (old.abs().max(1).values < 1000)
            assert (turned[near, :2] - new[near]).abs().max() < 0.1
            assert torch.allclose(depth[near], new_depth[near], rtol=1e-3)


def test_boxes_keep_their_points() -> None:
    """A box's nose, 2 m ahead, and its velocity follow it through flips, turns and scale."""
    random = np.random.default_rng(0)
    boxes = np.array([[10.0, 3, 1, 4, 2, 1.5, 0.4, 2 * np.cos(0.4), 2 * np.sin(0.4)]])
    for _ in range(8):
        matrix = draw_lidar_matrix(AugmentSpec(), random)
        moved = move_boxes(matrix, boxes)[0]
        nose = boxes[0, :3] + 2 * np.array([np.cos(0.4), np.sin(0.4), 0])
        scale = moved[3] / 4
        there = moved[:3] + 2 * scale * np.array([np.cos(moved[6]), np.sin(moved[6]), 0])
        assert transform(matrix, nose[None])[0] == pytest.approx(there)
        ahead = np.array([np.cos(moved[6]), np.sin(moved[6])])
        assert moved[7:9] == pytest.approx(2 * scale * ahead)
    still = move_boxes(matrix, np.full((1, 9), np.nan))
    assert np.isnan(still).all()


@pytest.mark.parametrize("size", [{"height": 90}, {"width": 0}, {"crop_top": 1.5}])
def test_wrong_image_sizes_are_named(size: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(size))):
        ImageSpec(**size)  # type: ignore[arg-type]


def _pixels(matrix: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    homogeneous = torch.cat([points[:, :3], torch.ones(len(points), 1)], 1).double()
    projected = homogeneous @ matrix.double().T
    return projected[:, :2] / projected[:, 2:3].clamp(min=1e-3), projected[:, 2]


def test_calibration_parts_multiply_to_lidar_to_image(scenes: NuScenesScenes) -> None:
    """Undo the LiDAR's augmentation, project, move the pixels: what lidar_to_image does at once."""
    image = ImageSpec(height=32, width=64)
    loader = Loader(scenes, image, AugmentSpec(), 1, shuffle=False, seed=3)
    batch = next(iter(loader))
    parts = batch.parts
    assert parts is not None
    points = batch.points[0][:50, :3].double().T  # [3, P]
    whole = batch.lidar_to_image[0, 0].double()
    at_once = whole[:3, :3] @ points + whole[:3, 3:]
    back = torch.linalg.inv(parts.lidar[0].double())
    raw = parts.projection[0, 0].double()
    moved = back[:3, :3] @ points + back[:3, 3:]
    projected = raw[:3, :3] @ moved + raw[:3, 3:]
    pixels = parts.image[0, 0].double()
    uv = pixels[:2, :2] @ (projected[:2] / projected[2]) + pixels[:2, 3:]
    assert torch.allclose(uv, at_once[:2] / at_once[2], rtol=1e-4, atol=1e-2)
    assert torch.allclose(projected[2], at_once[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip", 1.5), ("image_flip", -0.1), ("scale", (1.1, 0.9)), ("translate_m", -1.0)],
)
def test_wrong_ranges_are_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field}: value .*; allowed: "):
        AugmentSpec(**{field: value})
