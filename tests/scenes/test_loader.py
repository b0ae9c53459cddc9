"""The loader: workers read what one process reads; damaged frames are named, or skipped if asked;
images as Pillow resizes them; classes balanced.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparsefront.scenes.batch import RADAR_FIELDS, SensorBatch
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.geometry import transform
from sparsefront.scenes.loader import Loader
from sparsefront.scenes.loading.augment import AugmentSpec
from sparsefront.scenes.loading.balance import draw_class_balanced
from sparsefront.scenes.loading.images import LEVELS, ImageSpec, decode, fit, normalise
from sparsefront.scenes.loading.lidar_sweeps import LidarSweep, merge_sweeps
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.procedural import make_scenes

VERSION = "v1.0-procedural"
SMALL = ImageSpec(height=32, width=96)


def spec(root: Path, **fields: object) -> NuScenesSpec:
    return NuScenesSpec(root=str(root), version=VERSION, split="all", **fields)  # type: ignore[arg-type]


def same(a: SensorBatch, b: SensorBatch) -> None:
    assert a.tokens == b.tokens
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.lidar_to_image, b.lidar_to_image)
    for ours, theirs in zip(a.points, b.points, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(a.targets, b.targets, strict=True):
        torch.testing.assert_close(ours.boxes, theirs.boxes, equal_nan=True, rtol=0, atol=0)


@pytest.mark.long
def test_workers_give_the_same_batches(tiny_root: Path) -> None:
    """Two epochs, shuffled and augmented; the second starts before the first was read out."""
    scenes = NuScenesScenes(spec(tiny_root))
    here, there = (
        Loader(scenes, SMALL, AugmentSpec(), 2, shuffle=True, seed=3, workers=w) for w in (0, 2)
    )
    for _ in range(2):
        for ours, theirs in zip(here, there, strict=True):
            same(ours, theirs)
    next(iter(here)), next(iter(there))
    for ours, theirs in zip(here, there, strict=True):
        same(ours, theirs)
    assert len(active_children()) >= 2


@pytest.mark.long
def test_workers_name_a_damaged_file_in_one_line(tiny_root: Path, tmp_path: Path) -> None:
    """The same error as here, not a traceback from another process."""
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    path = sorted((root / "samples" / "LIDAR_TOP").iterdir())[0]
    _cut(path)
    scenes = NuScenesScenes(spec(root, num_sweeps=0))
    said = []
    for workers in (0, 1):
        with pytest.raises(BadSample) as raised:
            list(Loader(scenes, SMALL, None, 2, shuffle=False, seed=0, workers=workers))
        said.append(str(raised.value))
    assert said[0] == said[1] and path.name in said[0]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 3])


def _other_size(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path)


@pytest.mark.parametrize(
    ("pattern", "damage", "said"),
    [
        ("LIDAR_TOP/*", _cut, "allowed: a multiple of 20"),
        ("LIDAR_TOP/*", lambda p: p.write_bytes(b""), "0 bytes"),
        ("LIDAR_TOP/*", Path.unlink, "No such file"),
        ("CAM_FRONT/*", _cut, "not a whole image"),
        ("CAM_FRONT/*", lambda p: p.write_text("text"), "not a whole image"),
        ("CAM_FRONT/*", Path.unlink, "No such file"),
        ("CAM_FRONT/*", _other_size, "64 x 64 pixels; the tables say 400 x 225"),
    ],
)
def test_damaged_file_is_named_or_skipped(
    tiny_root: Path, tmp_path: Path, pattern: str, damage: Callable[[Path], object], said: str
) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    path = sorted((root / "samples").glob(pattern))[0]
    damage(path)
    scenes = NuScenesScenes(spec(root, num_sweeps=0))
    with pytest.raises(BadSample) as raised:
        list(Loader(scenes, SMALL, None, 2, shuffle=False, seed=0))
    assert path.name in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    scenes = NuScenesScenes(spec(root, num_sweeps=0), on_bad_sample="skip")
    loader = Loader(scenes, SMALL, None, 2, shuffle=False, seed=0)
    read = [token for batch in loader for token in batch.tokens]
    assert read == scenes.tokens[1:]
    assert scenes.skipped == {scenes.tokens[0]: str(raised.value)}
    assert scenes.without(scenes.skipped).tokens == read


def test_classes_are_drawn_equally_often() -> None:
    """Class 0 is in 6 frames, class 1 in 2, class 2 in none: 8 / 3 -> 2 draws each, as published;
    the frame without boxes never comes.
    """
    present = np.zeros((7, 3), dtype=bool)
    present[:6, 0] = True
    present[4:6, 1] = True
    found = draw_class_balanced(present, np.random.default_rng(0))
    assert len(found) == 4
    assert set(found[2:]) <= {4, 5}
    assert 6 not in found


def test_a_balanced_epoch_reads_every_frame(tiny_root: Path) -> None:
    scenes = NuScenesScenes(spec(tiny_root, balance="cbgs"))
    loader = Loader(scenes, SMALL, None, 1, shuffle=True, seed=0)
    assert len(loader) > len(scenes.tokens)  # every frame has most classes
    assert {batch.tokens[0] for batch in loader} == set(scenes.tokens)
    plain = Loader(scenes, SMALL, None, 1, shuffle=False, seed=0)
    assert [batch.tokens[0] for batch in plain] == scenes.tokens


@pytest.mark.parametrize("crop_top", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scale", [None, 0.48])
def test_images_are_resized_as_by_pillow(
    tiny_root: Path, scale: float | None, crop_top: float
) -> None:
    path = next((tiny_root / "samples" / "CAM_FRONT").iterdir())
    image = ImageSpec(height=64, width=160, scale=scale, crop_top=crop_top)
    found, matrix = fit(decode(path), image)
    with Image.open(path) as stored:
        if scale is None:
            size, sampling = (160, 90), Image.Resampling.BILINEAR
        else:
            size, sampling = (192, 108), Image.Resampling.BICUBIC
        whole = np.asarray(stored.resize(size, sampling)).astype(int)
    top, left = round((size[1] - 64) * crop_top), (size[0] - 160) // 2
    apart = np.abs(found.astype(int) - whole[top : top + 64, left : left + 160])
    assert apart.max() <= (0 if scale is None else 1)
    assert (apart > 0).mean() < 0.01
    np.testing.assert_array_equal(matrix[:2, 2], [-left, -top])


def test_images_are_normalised_by_imagenet() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[2, 5] = 255, 0, 128
    out = torch.empty(1, 3, 16, 16)
    normalise([pixels], out)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(out[0, :, 2, 5].double(), torch.tensor(expected).double(),
                               rtol=1e-6, atol=0)  # fmt: skip
    assert torch.equal(out[0, :, 0, 0], torch.from_numpy(LEVELS[0]))


def test_sweeps_merge_without_the_ego_body(tmp_path: Path) -> None:
    """The ego's own body goes from sweeps, not from the keyframe; a quarter turn, then 1 m up."""
    cloud = np.array([[0.5, 0.5, 0, 9, 3], [4, 0, 1, 7, 3]], np.float32)
    cloud.tofile(tmp_path / "a.bin")
    motion = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], dtype=float)
    found = merge_sweeps(tmp_path / "a.bin", [LidarSweep(path=tmp_path / "a.bin", motion=motion,
                                                   age_s=0.05)])  # fmt: skip
    expected = [[0.5, 0.5, 0, 9, 0], [4, 0, 1, 7, 0], [0, 4, 2, 7, 0.05]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    many = np.random.default_rng(0).normal(scale=30, size=(500, 5)).astype(np.float32)
    many.tofile(tmp_path / "b.bin")
    out = merge_sweeps(tmp_path / "a.bin", [LidarSweep(path=tmp_path / "b.bin", motion=motion,
                                                 age_s=0.0)])  # fmt: skip
    far = many[(np.abs(many[:, :2]) >= 1).any(1)]
    moved = transform(motion, far[:, :3].astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(out[2:, :3], moved)


def test_radar_and_maps_reach_the_batch(tmp_path: Path) -> None:
    """Points of five radars, newest first, and the map's cells, moved with an augmentation."""
    root = tmp_path / "streets"
    make_scenes(root, num_scenes=1, frames=2, workers=1, progress=False, street_map=True)
    scenes = NuScenesScenes(spec(root, radar_sweeps=3, maps=True))
    batch = Loader(scenes, SMALL, None, 2, shuffle=False, seed=0).sample(1)
    assert batch.radar is not None
    assert batch.radar[0].shape[1] == RADAR_FIELDS
    ages = batch.radar[0][:, 6].unique()
    assert ages.min() == 0 and len(ages) == 3
    maps = batch.targets[0].maps
    assert maps is not None and maps.shape == (6, 200, 200) and maps.dtype == torch.bool
    assert maps[0, 95:105, 95:105].all()  # the ego drives on the road
    turned = AugmentSpec(rotate_rad=0.0, scale=(1.0, 1.0), translate_m=0.0, flip=1.0)
    moved = next(iter(Loader(scenes, SMALL, turned, 2, shuffle=False, seed=0)))
    assert moved.radar is not None and moved.targets[1].maps is not None
    torch.testing.assert_close(moved.radar[1][:, :2], -batch.radar[0][:, :2])
    torch.testing.assert_close(moved.radar[1][:, 4:6], -batch.radar[0][:, 4:6])
    same_cells = moved.targets[1].maps == maps.flip(1, 2)
    assert same_cells.float().mean() > 0.97  # cells on borders round the other way


def test_a_cut_radar_file_is_named(tiny_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    path = sorted((root / "samples" / "RADAR_FRONT").iterdir())[0]
    _cut(path)
    scenes = NuScenesScenes(spec(root, radar_sweeps=1))
    with pytest.raises(BadSample, match=path.name):
        list(Loader(scenes, SMALL, None, 1, shuffle=False, seed=0))
