"""Synthetic scenes: nuscenes-devkit loads and scores them, and they are what they claim."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nuscenes import NuScenes
from nuscenes.utils.splits import get_scenes_of_split
from PIL import Image

from sparsefront.errors import InputError
from sparsefront.scenes.batch import DETECTION_CLASSES, Detections
from sparsefront.scenes.geometry import points_in_box, project
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.procedural import make_scenes
from sparsefront.scenes.procedural.lidar import scan
from sparsefront.scenes.procedural.world import CLUTTER, SIZES, make_world
from sparsefront.scenes.scoring.nuscenes_frames import score_detections as score

VERSION = "v1.0-procedural"


@pytest.fixture(scope="module")
def scenes(tiny_root: Path) -> NuScenesScenes:
    return NuScenesScenes(
        NuScenesSpec(root=str(tiny_root), version=VERSION, split="procedural_train")
    )


def test_devkit_reads_every_table(tiny_root: Path) -> None:
    nusc = NuScenes(VERSION, str(tiny_root), verbose=False)
    assert len(list((tiny_root / VERSION).glob("*.json"))) == 13 + 1  # and splits.json
    assert len(nusc.scene) == 2
    assert len(nusc.sample) == 4
    assert len(nusc.calibrated_sensor) == len(nusc.sensor) == 12
    assert {nusc.get("category", i["category_token"])["name"] for i in nusc.instance} == {
        c["name"] for c in nusc.category
    }
    assert get_scenes_of_split("procedural_val", nusc) == ["made-0-0001"]
    mask = nusc.map[0]["mask"].mask()
    assert mask.ndim == 2
    for data in nusc.sample_data:
        file = tiny_root / data["filename"]
        if data["fileformat"] == "jpg":
            with Image.open(file) as image:
                assert image.size == (data["width"], data["height"])
        elif data["sensor_modality"] == "lidar":
            points = np.fromfile(file, np.float32).reshape(-1, 5)
            assert set(np.unique(points[:, 4])) <= set(range(32))
            assert len(points) > 1000


def test_boxes_hold_the_stated_number_of_points(scenes: NuScenesScenes) -> None:
    for token in scenes.tokens:
        frame = scenes.frame(token)
        keyframe = frame.points[frame.points[:, 4] == 0, :3].astype(float)
        inside = [
            int(points_in_box(keyframe, box[:3], box[3:6], turn).sum())
            for box, turn in zip(frame.boxes, frame.box_rotations, strict=True)
        ]
        assert sum(inside) > 100
        assert np.abs(np.array(inside) - frame.num_lidar_pts).max() <= 1  # float32 at a face


def test_all_classes_have_their_size(scenes: NuScenesScenes) -> None:
    frame = scenes.frame(scenes.tokens[0])
    assert set(frame.labels) == set(range(len(DETECTION_CLASSES)))
    for box, label in zip(frame.boxes, frame.labels, strict=True):
        assert box[3:6] == pytest.approx(np.array(SIZES[DETECTION_CLASSES[label]]), rel=0.2)


def test_boxes_are_where_the_cameras_see_them(scenes: NuScenesScenes) -> None:
    """The colours inside a cone's projected box hold its orange in at least one camera."""
    frame = scenes.frame(scenes.tokens[0])
    found = 0
    for box in frame.boxes[frame.labels == DETECTION_CLASSES.index("traffic_cone")]:
        for path, intrinsic, to_camera in zip(
            frame.image_paths, frame.intrinsics, frame.lidar_to_camera, strict=True
        ):
            wide = np.eye(4)
            wide[:3, :3] = intrinsic
            pixel, depth = project(wide @ to_camera, box[None, :3])
            u, v = pixel[0].round().astype(int)
            image = np.asarray(Image.open(path)).astype(int)
            height, width = image.shape[:2]
            if depth[0] > 1 and 5 < u < width - 5 and 5 < v < height - 5:
                patch = image[v - 4 : v + 5, u - 2 : u + 3].reshape(-1, 3)
                found += bool((patch[:, 0] - patch[:, 2] > 60).any())
    assert found >= 1


def test_nearer_things_hide_farther_ones() -> None:
    """Every LiDAR return is the first surface: no return lies beyond a box on its own ray."""
    world = make_world(0, 0, 1.0)
    points = scan(world, 0.0, np.random.default_rng(0))
    ranges = np.linalg.norm(points[:, :3], axis=1)
    assert ranges.min() > 0.5
    directions = np.round(points[:, :3] / ranges[:, None], 3)
    assert len(np.unique(directions, axis=0)) > 0.9 * len(points)


def test_a_scene_does_not_depend_on_the_number_of_scenes(tiny_root: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "one", num_scenes=1, frames=2, workers=1, progress=False)
    for file in (tmp_path / "one").rglob("*"):
        if file.suffix in (".jpg", ".bin"):
            other = tiny_root / file.relative_to(tmp_path / "one")
            assert _digest(file) == _digest(other)
    assert make_scenes(tmp_path / "one", num_scenes=1, frames=2, progress=False).is_dir()
    with pytest.raises(InputError, match="holds something else"):
        make_scenes(tmp_path / "one", num_scenes=1, frames=2, seed=1, progress=False)
    with pytest.raises(InputError, match="holds something else"):
        make_scenes(tmp_path / "one", num_scenes=1, frames=2, street_map=True, progress=False)
    note = tmp_path / "one" / "procedural.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "schema": 1}))
    with pytest.raises(InputError, match=r"another version .schema 1, now 2.: remove it"):
        make_scenes(tmp_path / "one", num_scenes=1, frames=2, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one"]
    other_world = make_world(1, 0, 1.0)
    assert other_world.ego_yaw != make_world(0, 0, 1.0).ego_yaw


def test_instances_are_chains_with_velocities(tiny_root: Path) -> None:
    """The devkit follows every actor through its scene and derives the velocity it was given."""
    nusc = NuScenes(VERSION, str(tiny_root), verbose=False)
    moving = 0
    for scene in nusc.scene:
        samples = [scene["first_sample_token"], scene["last_sample_token"]]
        world = make_world(0, int(scene["name"][-4:]), 0.5)
        actors = [a for a in world.actors if a.name != CLUTTER]
        rows = [nusc.get("sample", token)["anns"] for token in samples]
        instances = [[nusc.get("sample_annotation", t)["instance_token"] for t in r] for r in rows]
        assert instances[0] == instances[1] and len(set(instances[0])) == len(actors)
        for actor, first, last in zip(actors, *rows, strict=True):
            row = nusc.get("sample_annotation", first)
            instance = nusc.get("instance", row["instance_token"])
            assert (row["prev"], row["next"]) == ("", last)
            assert nusc.get("sample_annotation", last)["prev"] == first
            ends = (instance["first_annotation_token"], instance["last_annotation_token"])
            assert ends == (first, last) and instance["nbr_annotations"] == 2
            assert nusc.box_velocity(first)[:2] == pytest.approx(actor.velocity, abs=1e-6)
            moving += bool(actor.velocity.any())
    assert moving > 5


def test_truth_scores_one_and_nothing_scores_zero(scenes: NuScenesScenes) -> None:
    """nuscenes-devkit leaves out boxes that no LiDAR or radar point hit; so does this truth."""
    truth, nothing = {}, {}
    for token in scenes.tokens:
        frame = scenes.frame(token)
        seen = frame.num_lidar_pts > 0
        truth[token] = Detections(
            boxes=torch.from_numpy(frame.boxes[seen]).float(),
            labels=torch.from_numpy(frame.labels[seen]),
            scores=torch.ones(int(seen.sum())),
        )
        nothing[token] = Detections(
            boxes=torch.zeros(0, 9), labels=torch.zeros(0).long(), scores=torch.zeros(0)
        )
    perfect = score(scenes, truth)
    assert perfect.mAP == pytest.approx(1.0, abs=1e-6)
    assert perfect.tp_errors["trans_err"] == pytest.approx(0.0, abs=1e-3)
    assert perfect.tp_errors["vel_err"] == pytest.approx(0.0, abs=0.05)
    assert score(scenes, nothing).mAP == 0.0
    with pytest.raises(InputError, match="frames are missing"):
        score(scenes, {})


def test_loader_reads_sweeps_in_a_seeded_order(tiny_root: Path) -> None:
    frames = {"root": str(tiny_root), "version": VERSION, "split": "procedural_train"}
    image = ImageSpec(height=32, width=64)
    one = NuScenesScenes(NuScenesSpec(**frames, num_sweeps=1))  # type: ignore[arg-type]
    none = NuScenesScenes(NuScenesSpec(**frames, num_sweeps=0))  # type: ignore[arg-type]
    later = Loader(one, image, None, 1, shuffle=False, seed=0).sample(1)
    assert later.images.shape == (1, 6, 3, 32, 64)
    assert set(later.points[0][:, 4].tolist()) == {0.0, 0.25}
    alone = Loader(none, image, None, 1, shuffle=False, seed=0).sample(1)
    assert set(alone.points[0][:, 4].tolist()) == {0.0}
    orders = []
    for _ in range(2):
        loader = Loader(one, image, None, 1, shuffle=True, seed=3)
        orders.append([b.tokens for _ in range(4) for b in loader])
    assert orders[0] == orders[1]
    assert len(set(map(str, (orders[0][i : i + 2] for i in range(0, 8, 2))))) > 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"root": "/no/such"}, "/no/such"),
        ({"version": "v9"}, "v9"),
        ({"split": "moon"}, "moon"),
    ],
)
def test_wrong_specs_are_named(tiny_root: Path, change: dict[str, str], named: str) -> None:
    frames = {"root": str(tiny_root), "version": VERSION, "split": "procedural_train", **change}
    with pytest.raises(InputError, match=named):
        NuScenesScenes(NuScenesSpec(**frames))  # type: ignore[arg-type]


def test_the_recipe_is_stored(tiny_root: Path) -> None:
    assert json.loads((tiny_root / "procedural.json").read_text())["num_scenes"] == 2


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
