"""Synthetic KITTI frames: labels against what is drawn, the score with and without files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.scenes.batch import Detections
from sparsefront.scenes.geometry import lidar_to_image, project
from sparsefront.scenes.kitti import KittiScenes, KittiSpec
from sparsefront.scenes.kitti_files import read_objects
from sparsefront.scenes.procedural import make_kitti
from sparsefront.scenes.procedural.kitti_frame import (
    FOLDERS,
    HEIGHT,
    WIDTH,
    camera_to_world,
    label_lines,
    pixel_rays,
    write_frame,
)
from sparsefront.scenes.procedural.kitti_frame import INTRINSICS as MATRIX
from sparsefront.scenes.procedural.raycast import cast
from sparsefront.scenes.procedural.world import Actor, World, make_world
from sparsefront.scenes.scoring.kitti_frames import score_kitti, write_kitti_results
from sparsefront.search.cli.score_files import score_kitti_files


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_kitti(tmp_path_factory.mktemp("synthetic") / "k", 5, 3, workers=2, progress=False)


@pytest.fixture
def scenes(root: Path) -> KittiScenes:
    return KittiScenes(KittiSpec(kitti_root=str(root)))


def test_frames_are_reproducible_and_split(root: Path, tmp_path: Path) -> None:
    """Frame 4 alone has the same bytes; the set is left alone when asked for again."""
    assert KittiScenes(KittiSpec(kitti_root=str(root), image_set="val")).tokens == ["000003"]
    train = KittiScenes(KittiSpec(kitti_root=str(root), image_set="train"))
    assert train.tokens == ["000000", "000001", "000002", "000004"]
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    write_frame(tmp_path, 3, 4)
    for file in tmp_path.glob("*/000004.*"):
        other = root / "training" / file.parent.name / file.name
        assert file.read_bytes() == other.read_bytes()
    assert make_kitti(root, 5, 3, progress=False) == root
    with pytest.raises(InputError, match="exists and holds something else"):
        make_kitti(root, 6, 3, progress=False)
    with pytest.raises(InputError, match="num_frames: value 0; allowed: 1 and above"):
        make_kitti(tmp_path / "x", 0)
    assert not list(root.parent.glob(".*"))


def test_boxes_hold_their_points_and_meet_their_image_boxes(scenes: KittiScenes) -> None:
    counts = []
    for token in scenes.tokens:
        frame = scenes.frame(token)
        objects = scenes.objects(token)
        labelled = objects.kind != "dontcare"
        own = np.isin(objects.kind[labelled], ["car", "pedestrian", "cyclist"])
        to_image = lidar_to_image(frame.intrinsics[0], frame.lidar_to_camera[0])
        pixels, _ = project(to_image, frame.boxes[:, :3])
        areas = objects.pixels[labelled][own]
        inside = objects.truncated[labelled][own] < 0.1
        assert (pixels[inside] >= areas[inside, :2] - 1).all()
        assert (pixels[inside] <= areas[inside, 2:] + 1).all()
        clear = objects.occluded[labelled][own] == 0
        counts += frame.num_lidar_pts[clear & (frame.boxes[:, 1] < 30)].tolist()
    assert len(counts) > 5
    assert min(counts) > 10
    kinds = np.concatenate([scenes.objects(t).kind for t in scenes.tokens])
    assert {"car", "dontcare"} <= set(kinds)


def car(ahead: float, left: float) -> Actor:
    return Actor(
        name="car", center=np.array([ahead, left, 0.75]), size=np.array([4.0, 2.0, 1.5]), yaw=0.0,
        velocity=np.zeros(2), color=np.full(3, 100.0), style=0,
    )  # fmt: skip


def label_of(*actors: Actor) -> list[list[str]]:
    """Words of the lines of a world with the ego at the origin."""
    base = make_world(0, 0, 0.0)
    world: World = replace(base, actors=actors, ego_start=np.zeros(2), ego_yaw=0.0)
    camera = camera_to_world(world)
    rays = pixel_rays(MATRIX, WIDTH, HEIGHT) @ camera[:3, :3].T
    seen = cast(world, 0.0, camera[:3, 3], rays).actor.reshape(HEIGHT, WIDTH)
    return [line.split() for line in label_lines(world, camera, seen)]


def test_a_label_has_the_geometry_of_its_car() -> None:
    """20 m ahead of the ego and 4 m to the right: camera 0 stands 0.27 m ahead at 1.65 m height,
    the image's camera 6 cm to its left.
    """
    (words,) = label_of(car(20.0, -4.0))
    assert words[:3] == ["Car", "0.00", "0"]
    numbers = [float(w) for w in words[3:]]
    x, z = 4.0, 20 - 0.27
    assert numbers[5:8] == [1.5, 2.0, 4.0]
    assert numbers[8:11] == pytest.approx([x, 1.65, z], abs=0.006)
    assert numbers[11] == pytest.approx(-np.pi / 2, abs=0.006)  # ahead is minus a quarter around y
    assert numbers[0] == pytest.approx(-np.pi / 2 - np.arctan2(x, z), abs=0.006)
    left = 609.5593 + 721.5377 * (x - 1 + 0.06) / (z + 2)
    bottom = 172.854 + 721.5377 * 1.65 / (z - 2)
    assert numbers[1] == pytest.approx(left, abs=0.006)
    assert numbers[4] == pytest.approx(bottom, abs=0.006)


def test_occlusion_and_truncation_of_labels() -> None:
    """Behind a car: as much as is still seen; at the border: the part of its box beyond it."""
    near, half, behind = car(15.0, 0.0), car(30.0, 2.4), car(40.0, 0.0)
    found = label_of(near, half, behind)
    occluded = {float(words[13]): int(words[2]) for words in found}
    assert occluded[14.73] == 0
    assert occluded[29.73] in (1, 2)
    assert occluded.get(39.73, 3) >= 2
    (words,) = label_of(car(8.0, 5.5))
    whole = 721.5377 * (-6.5 + 0.06) / (10 - 0.27 - 4) + 609.5593  # left of the nearer end
    right = float(words[6])
    assert float(words[4]) == 0.0
    assert float(words[1]) == pytest.approx(1 - right / (right - whole), abs=0.03)
    (far,) = label_of(car(60.0, 0.0))
    assert far[:4] == ["DontCare", "-1.00", "-1", "-10.00"]
    assert far[-7:] == ["-1.00"] * 3 + ["-1000.00"] * 3 + ["-10.00"]


def as_detections(scenes: KittiScenes) -> dict[str, Detections]:
    """The labels, in double precision, scores from high to low."""
    found = {}
    for token in scenes.tokens:
        frame = scenes.frame(token)
        scores = torch.linspace(0.9, 0.3, len(frame.labels), dtype=torch.float64)
        boxes, kinds = torch.from_numpy(frame.boxes), torch.from_numpy(frame.labels)
        found[token] = Detections(boxes=boxes, scores=scores, labels=kinds)
    return found


def test_labels_as_detections_score_the_same_with_and_without_files(
    scenes: KittiScenes, tmp_path: Path
) -> None:
    detections = as_detections(scenes)
    ours = score_kitti(scenes, detections)
    folder = write_kitti_results(scenes, detections, tmp_path / "results")
    assert score_kitti_files(scenes.folder / "label_2", folder) == ours.percent
    for metric in ("3d", "bev", "bbox"):  # nothing is missed, nothing is wrong
        count = _moderate_cars(scenes)
        assert ours.moderate(metric, "car") == pytest.approx(100 * min((count - 1) / 40, 1))
    assert read_objects(folder / "000000.txt", scored=True).kind.tolist()
    with pytest.raises(InputError, match="results exists; allowed: a new folder"):
        write_kitti_results(scenes, detections, folder)
    with pytest.raises(InputError, match="'3d', 'bus'; allowed: "):
        ours.moderate("3d", "bus")
    shifted = {
        t: replace(d, boxes=d.boxes + torch.tensor([3.0] + [0.0] * 8))
        for t, d in detections.items()
    }
    assert score_kitti(scenes, shifted).moderate("bev", "car") == 0.0


def _moderate_cars(scenes: KittiScenes) -> int:
    labels = [x for t in scenes.tokens for x in scenes.labels(t)]
    return sum(x.kind == "Car" and x.difficulty in (0, 1) for x in labels)


def test_boxes_outside_the_image_are_dropped(scenes: KittiScenes, tmp_path: Path) -> None:
    """Behind the camera, left of the image, and of a class that KITTI does not have."""
    token = scenes.tokens[0]
    boxes = torch.tensor(
        [[x, y, -1.0, 4.0, 2.0, 1.5, 0.0, 0, 0] for x, y in ((0, -20), (-60, 10), (0, 20), (0, 20))]
    )
    labels = torch.tensor([0, 0, 0, 1])
    found = {t: Detections(boxes=boxes[:0], scores=torch.ones(0), labels=labels[:0])
             for t in scenes.tokens}  # fmt: skip
    found[token] = Detections(boxes=boxes, scores=torch.ones(4), labels=labels)
    folder = write_kitti_results(scenes, found, tmp_path / "r")
    assert len(read_objects(folder / f"{token}.txt", scored=True)) == 1
    assert (folder / f"{scenes.tokens[1]}.txt").read_text() == ""
    found[token] = Detections(boxes=boxes, scores=torch.full((4,), torch.nan), labels=labels)
    with pytest.raises(InputError, match=f"frame {token} has a box or a score that is not finite"):
        score_kitti(scenes, found)
    del found[token]
    with pytest.raises(InputError, match=f"frame {token} is missing"):
        score_kitti(scenes, found)


def test_a_damaged_image_is_named(kitti_root: Path) -> None:
    scenes = KittiScenes(KittiSpec(kitti_root=str(kitti_root)))
    scenes.image("000000").write_text("x")
    nothing = Detections(boxes=torch.zeros(0, 9), scores=torch.zeros(0), labels=torch.zeros(0))
    with pytest.raises(InputError, match=r"000000\.png: .*; allowed: an image file a frame"):
        score_kitti(scenes, {"000000": nothing})
