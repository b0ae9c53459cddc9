"""KITTI's files: geometry by hand on a synthetic frame, real frames if present, matching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparsefront.errors import InputError
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.geometry import box_corners, project
from sparsefront.scenes.kitti import KittiScenes, KittiSpec, Label
from sparsefront.scenes.loader import AugmentSpec, ImageSpec, Loader
from sparsefront.scenes.scoring.kitti_matching import box_overlaps, match
from tests.helpers import paths

REAL = paths.DATA / "kitti"


def test_a_frame_is_read_in_the_lidar_frame(kitti_root: Path) -> None:
    """A car 20 m ahead and 2 m to the right that faces ahead; its bottom 1.7 m below the camera."""
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    frame = scenes.frame("000000")
    assert frame.points.tolist() == [[2.0, 20.0, -1.0, 127.5, 0.0]]
    box = frame.boxes[0]
    assert box[:7] == pytest.approx([2.0, 20.0, -1.7 + 0.75, 4.0, 1.6, 1.5, np.pi / 2], abs=1e-6)
    batch = Loader(scenes, ImageSpec(height=48, width=112), None, 1, shuffle=False, seed=0).sample(
        0
    )
    u, v, d, _ = batch.lidar_to_image[0, 0] @ torch.tensor([2.0, 20.0, -1.0, 1.0])
    assert (u / d).item() == pytest.approx(50 + 100 * 2 / 20)
    assert (v / d).item() == pytest.approx(20 + 100 * 1 / 20)
    (label,) = scenes.labels("000000")
    assert label.difficulty == 0
    assert replace(label, occluded=1).difficulty == 1
    assert replace(label, pixels_high=30.0, truncated=0.4).difficulty == 2
    assert replace(label, pixels_high=20.0).difficulty is None


def test_wrong_labels_frames_and_roots_are_named(kitti_root: Path) -> None:
    label = kitti_root / "training" / "label_2" / "000000.txt"
    car = label.read_text().splitlines()[0]
    label.write_text(car.rpartition(" ")[0])
    with pytest.raises(InputError, match=r"000000\.txt: line 1: 14 columns; allowed: 15"):
        KittiScenes(KittiSpec(kitti_root=str(kitti_root))).frame("000000")
    with pytest.raises(InputError, match="frames: 000009 has no label"):
        KittiScenes(KittiSpec(kitti_root=str(kitti_root), frames=("000009",)))
    with pytest.raises(InputError, match="is not a folder"):
        KittiScenes(KittiSpec(kitti_root=str(kitti_root / "absent")))


def test_image_sets_choose_frames(kitti_root: Path) -> None:
    spec = KittiSpec(kitti_root=str(kitti_root), image_set="val")
    with pytest.raises(InputError, match=r"image_set: .*ImageSets/val\.txt is missing; allowed: "):
        KittiScenes(spec)
    (kitti_root / "ImageSets").mkdir()
    (kitti_root / "ImageSets" / "val.txt").write_text("000000\n")
    assert KittiScenes(spec).tokens == ["000000"]
    (kitti_root / "ImageSets" / "val.txt").write_text("000000\n000007\n")
    with pytest.raises(InputError, match="image_set: 000007 has no label in"):
        KittiScenes(spec)
    with pytest.raises(InputError, match="frames, image_set: both are given"):
        KittiSpec(kitti_root="x", frames=("000000",), image_set="val")


def test_a_split_without_labels_has_frames_without_boxes(kitti_root: Path) -> None:
    (kitti_root / "training").rename(kitti_root / "testing")
    (kitti_root / "testing" / "label_2" / "000000.txt").unlink()
    (kitti_root / "testing" / "label_2").rmdir()
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root), split="testing"))
    assert scenes.tokens == ["000000"]
    frame = scenes.frame("000000")
    assert frame.boxes.shape == (0, 9)
    assert len(frame.points) == 1
    with pytest.raises(InputError, match="has no label_2; allowed: a split with labels"):
        scenes.objects("000000")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("calib/000000.txt", "P2: 1 2 3", r"line 1: P2 has 3 numbers; allowed: 12"),
        ("calib/000000.txt", f"P2: {'1 ' * 11}x", r"line 1: P2 'x'; allowed: a number"),
        ("calib/000000.txt", f"P2: {'1 ' * 11}nan", r"line 1: P2 'nan'; allowed: a finite number"),
        ("calib/000000.txt", f"P2: {'1 ' * 12}", r"R0_rect is missing; allowed: a line R0_rect"),
        ("velodyne/000000.bin", "12345678901234567", r"17 bytes; allowed: a multiple of 16"),
        ("label_2/000000.txt", "Car 0 9 0 0 0 9 9 1 1 1 0 1 9 0", r"line 1: occlusion 9; allowed"),
        ("label_2/000000.txt", "Car -1 0 0 0 0 9 9 1 1 1 0 1 9 0", r"line 1: truncation -1; allow"),
    ],
)
def test_damaged_files_are_named_with_their_line(
    kitti_root: Path, file: str, content: str, message: str
) -> None:
    path = kitti_root / "training" / file
    path.write_text(content)
    with pytest.raises(InputError, match=f"{path.name}: {message}") as caught:
        KittiScenes(KittiSpec(kitti_root=str(kitti_root))).frame("000000")
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_scans_are_named(kitti_root: Path) -> None:
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    path = kitti_root / "training" / "velodyne" / "000000.bin"
    np.array([[1, 2, 3, 0], [1, np.nan, 3, 0]], np.float32).tofile(path)
    with pytest.raises(InputError, match=r"000000\.bin: point 1: \[1\.0, nan, 3\.0, 0\.0\]; allow"):
        scenes.frame("000000")
    path.unlink()
    with pytest.raises(InputError, match=r"000000\.bin is missing"):
        scenes.frame("000000")


def test_points_in_boxes_are_counted(kitti_root: Path) -> None:
    """The car's middle is 20 m ahead, 2 m to the right; half a metre beyond its length is out."""
    path = kitti_root / "training" / "velodyne" / "000000.bin"
    rows = [[20, -2, -1, 0], [21.9, -2, -1, 0], [22.5, -2, -1, 0], [20, -2, 1, 0], [20, 2, -1, 0]]
    np.array(rows, np.float32).tofile(path)
    frame = KittiScenes(KittiSpec(kitti_root=str(kitti_root))).frame("000000")
    assert frame.num_lidar_pts.tolist() == [2]


@pytest.mark.parametrize("seed", range(6))
def test_augmented_boxes_stay_on_their_pixels(kitti_root: Path, seed: int) -> None:
    """Corners of the car, moved with the frame, projected by the moved calibration, are where the
    image's flip, turn and scale take the plain corners' pixels.
    """
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    image = ImageSpec(height=48, width=112)
    plain = Loader(scenes, image, None, 1, shuffle=False, seed=seed).sample(0)
    (moved,) = Loader(scenes, image, AugmentSpec(), 1, shuffle=False, seed=seed)
    assert moved.parts is not None
    pixels = []
    for batch in (plain, moved):
        corners = box_corners(batch.targets[0].boxes.double().numpy())[0]
        found, depth = project(batch.lidar_to_image[0, 0].double().numpy(), corners)
        assert (depth > 10).all()
        pixels.append(found)
    warp = moved.parts.image[0, 0].double().numpy()  # acts on (u, v, 1, 1); the plain one is still
    wanted = pixels[0] @ warp[:2, :2].T + warp[:2, 3]
    ours = pixels[1]
    apart = np.linalg.norm(ours[:, None] - wanted[None], axis=2)
    assert apart.min(axis=1).max() < 0.01  # a flipped box has its corners in another order
    assert sorted(apart.argmin(axis=1).tolist()) == list(range(8))
    point = moved.points[0][0, :3].double().numpy()
    at = project(moved.lidar_to_image[0, 0].double().numpy(), point[None])[0]
    before = project(
        plain.lidar_to_image[0, 0].double().numpy(), plain.points[0][0, :3].numpy()[None]
    )
    assert at == pytest.approx(before[0] @ warp[:2, :2].T + warp[:2, 3], abs=0.01)


def test_a_flipped_image_shows_the_car_where_its_box_is(kitti_root: Path) -> None:
    """A white patch at the car's pixels; only flips, both ways."""
    path = kitti_root / "training" / "image_2" / "000000.png"
    picture = np.zeros((48, 112, 3), np.uint8)
    picture[20:30, 55:65] = 255  # around its middle: 50 + 100 * 2 / 20, 20 + 100 * 0.95 / 20
    Image.fromarray(picture).save(path)
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    still = {"image_scale": (1.0, 1.0), "image_rotate_deg": 0.0, "rotate_rad": 0.0,
             "scale": (1.0, 1.0), "translate_m": 0.0}  # fmt: skip
    for image_flip, flip in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        augment = AugmentSpec(**still, image_flip=image_flip, flip=flip)  # type: ignore[arg-type]
        image = ImageSpec(height=48, width=112)
        (batch,) = Loader(scenes, image, augment, 1, shuffle=False, seed=0)
        middle = batch.targets[0].boxes[0, :3].double().numpy()[None]
        (u, v), _ = (x[0] for x in project(batch.lidar_to_image[0, 0].double().numpy(), middle))
        rows, columns = np.nonzero(batch.images[0, 0, 0].numpy() > 1)
        assert u == pytest.approx(52 if image_flip else 60, abs=1e-3)
        assert columns.mean() + 0.5 == pytest.approx(u, abs=1.0)
        assert rows.mean() + 0.5 == pytest.approx(v, abs=1.0)


def test_overlaps_by_hand() -> None:
    """Half of the ground in common, all of the height: a third; a quarter turn of a square: one."""
    box = np.array([[0.0, 0, 0, 2, 2, 1, 0]])
    others = np.array(
        [[1.0, 0, 0, 2, 2, 1, 0], [0, 0, 0, 2, 2, 1, np.pi / 2], [0, 0, 5, 2, 2, 1, 0]]
    )
    assert box_overlaps(box, others)[0] == pytest.approx([1 / 3, 1.0, 0.0])


def test_matching_by_hand() -> None:
    """Easy and moderate car, a van. Found: the easy one, the van (no matter), one of nothing."""
    places = np.zeros((3, 7))
    places[:, 0] = 0, 10, 20
    places[:, 3:6] = 4, 2, 1.5
    easy = Label("Car", 0.0, 0, 50.0, places[0])
    labels = {"a": [easy, Label("Car", 0.0, 1, 50.0, places[1]), Label("Van", 0, 0, 50, places[2])]}
    boxes = torch.zeros(4, 9)
    boxes[:, 0] = torch.tensor([0.0, 20, 30, 10])
    boxes[:, 3:6] = torch.tensor([4, 2, 1.5])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.2])
    found = match(labels, {"a": Detections(boxes=boxes, scores=scores, labels=torch.zeros(4))})
    assert found.recall == (1.0, 0.5, 0.5)
    assert found.labels == (1, 2, 2)
    assert found.precision == 0.5  # the box on the van does not count
    assert found.detections == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="no real KITTI frames here")
def test_real_boxes_lie_in_their_image_boxes() -> None:
    """The projected centre of every labelled car is inside the rectangle drawn around it."""
    scenes = KittiScenes(KittiSpec(kitti_root=str(REAL)))
    checked = 0
    for token in scenes.tokens:
        frame = scenes.frame(token)
        path = REAL / "training" / "label_2" / f"{token}.txt"
        rows = [line.split() for line in path.read_text().splitlines()]
        rectangles = [[float(v) for v in r[4:8]] for r in rows if r[0] in ("Car", "Cyclist")]
        boxes = [b for b, n in zip(frame.boxes, frame.labels, strict=True) if n in (0, 7)]
        for (left, top, right, bottom), box in zip(rectangles, boxes, strict=True):
            x, y, depth = (frame.lidar_to_camera[0] @ [*box[:3], 1])[:3]
            u, v, _ = frame.intrinsics[0] @ [x / depth, y / depth, 1]
            assert left - 40 <= u <= right + 40
            assert top - 10 <= v <= bottom + 10
            checked += 1
    assert checked > 40
