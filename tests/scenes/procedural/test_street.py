"""Synthetic streets: the map, the cameras' ground and the frames' places agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from sparsefront.scenes.geometry import project, transform
from sparsefront.scenes.maps.raster import MapLayers
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.procedural.paint import (
    BAY,
    CAR_PARK,
    CROSSING,
    LANE_DIVIDER,
    ROAD,
    ROAD_DIVIDER,
    STOP_LINE,
    WALKWAY,
)
from sparsefront.scenes.procedural.world import make_world

VERSION = "v1.0-procedural"


def test_a_street_moves_actors_and_repaints_the_ground(tiny_root: Path, street_root: Path) -> None:
    """A street moves a scene elsewhere and paints its ground; all else stays."""
    plain, street = make_world(0, 1, 0.5), make_world(0, 1, 0.5, street_map=True)
    shift = street.ego_start - plain.ego_start
    assert plain.street is None and len(plain.actors) == len(street.actors)
    for a, b in zip(plain.actors, street.actors, strict=True):
        assert a.name == b.name and a.center[:2] + shift == pytest.approx(b.center[:2])
    assert not (tiny_root / "maps" / "expansion").exists()
    name = next((tiny_root / "samples" / "CAM_FRONT").iterdir()).name
    images = [
        np.asarray(Image.open(r / "samples" / "CAM_FRONT" / name)).astype(int)
        for r in (tiny_root, street_root)
    ]
    changed = np.abs(images[0] - images[1]).max(2) > 40
    assert changed[140:].mean() > 0.3 and changed[:80].mean() < 0.01  # the ground, not the sky


def test_street_shapes_are_valid_and_apart() -> None:
    """Valid shapes (the devkit leaves others out), the ego on its road, no two scenes' meeting."""
    before: list[shapely.Geometry] = []
    for scene in range(10):
        world = make_world(3, scene, 4.5, street_map=True)
        assert world.street is not None
        layers = world.street.layers
        assert all(shape.is_valid for shapes in layers.values() for shape in shapes)
        assert len(layers["walkway"]) == len(layers["ped_crossing"]) == 4
        places = [shapely.Point(world.ego_pose(t)[:2, 3]) for t in np.linspace(0, 4.5, 9)]
        assert all(layers["drivable_area"][0].contains(place) for place in places)
        around = shapely.GeometryCollection([p.buffer(71) for p in places] + layers["walkway"])
        assert all(around.distance(other) > 1 for other in before)
        before.append(around)


def test_cameras_see_the_map(street_root: Path) -> None:
    """Where the raster has a walkway alone, pixels are bright; where it has road alone, dark."""
    spec = NuScenesSpec(root=str(street_root), version=VERSION, split="all")
    scenes = NuScenesScenes(spec)
    layers = MapLayers.read(street_root / "maps" / "expansion" / "singapore-onenorth.json")
    light: dict[str, list[float]] = {"road": [], "walkway": []}
    for token in scenes.tokens:
        frame = scenes.frame(token)
        maps = layers.raster(frame.lidar_to_global)
        alone = maps & (maps.sum(0) == 1)
        for kind, k in (("road", 0), ("walkway", 2)):
            cells = np.argwhere(alone[k]) * 0.5 - 49.75
            near = cells[np.hypot(*cells.T) < 12]
            places = np.column_stack([near, np.full(len(near), -1.84)])
            for path, intrinsic, to_camera in zip(
                frame.image_paths, frame.intrinsics, frame.lidar_to_camera, strict=True
            ):
                wide = np.eye(4)
                wide[:3, :3] = intrinsic
                pixel, depth = project(wide @ to_camera, places)
                u, v = np.floor(pixel[depth > 2]).astype(int).T
                image = np.asarray(Image.open(path).convert("L"))
                inside = (u >= 0) & (u < image.shape[1]) & (v >= 0) & (v < image.shape[0])
                light[kind] += image[v[inside], u[inside]].tolist()
    assert np.median(light["walkway"]) > 1.5 * np.median(light["road"])


def test_paint_is_what_the_map_says(street_root: Path) -> None:
    """Cells that one class covers alone have its paint at their middle, but for borders."""
    spec = NuScenesSpec(root=str(street_root), version=VERSION, split="procedural_val")
    scenes = NuScenesScenes(spec)
    layers = MapLayers.read(street_root / "maps" / "expansion" / "singapore-onenorth.json")
    street = make_world(0, 1, 0.5, street_map=True).street
    assert street is not None
    to_global = scenes.lidar_to_global(scenes.tokens[0])
    maps = layers.raster(to_global)
    alone = maps & (maps.sum(0) == 1)
    for k, labels in enumerate([{ROAD, LANE_DIVIDER}, None, {WALKWAY}, None, {CAR_PARK, BAY}]):
        if labels is not None:
            cells = np.argwhere(alone[k]) * 0.5 - 49.75
            places = transform(to_global, np.column_stack([cells, np.zeros(len(cells))]))
            found = street.paint.at(places[:, :2])
            assert len(found) > 500 and np.isin(found, list(labels)).mean() > 0.85
    for k, label in ((1, CROSSING), (3, STOP_LINE), (5, ROAD_DIVIDER)):
        cells = np.argwhere(maps[k]) * 0.5 - 49.75
        places = transform(to_global, np.column_stack([cells, np.zeros(len(cells))]))
        assert (street.paint.at(places[:, :2]) == label).mean() > 0.1
