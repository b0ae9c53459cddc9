"""Map targets: where cells lie, and nuscenes-devkit's get_map_mask cell for cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import torch
from nuscenes.map_expansion.map_api import NuScenesMap
from shapely import LineString, Polygon

from sparsefront.errors import InputError
from sparsefront.models.heads.map_head import MapHead
from sparsefront.scenes.batch import MAP_CLASSES
from sparsefront.scenes.geometry import transform
from sparsefront.scenes.maps.expansion import LAYERS, read_map
from sparsefront.scenes.maps.raster import MapLayers, Patch
from sparsefront.scenes.procedural.map_expansion import map_expansion

NAME = "singapore-onenorth"
CROSSING, DIVIDER = MAP_CLASSES.index("ped_crossing"), MAP_CLASSES.index("divider")


def pose(x: float, y: float, yaw: float, tilt: float = 0.0) -> np.ndarray:
    """4x4, tilted about its own x axis."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(tilt), np.sin(tilt)
    out = np.eye(4)
    out[:3, :3] = turn @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    out[:3, 3] = x, y, 1.8
    return out


def write(root: Path, layers: dict[str, list[Any]]) -> Path:
    path = root / "maps" / "expansion" / f"{NAME}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(map_expansion(layers, (1000.0, 1000.0))))
    return path


def moved(matrix: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    flat = np.array([[*p, 0.0] for p in points])
    return transform(matrix, flat)[:, :2]


@pytest.fixture(scope="module")
def random_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Polygons with and without holes, one that crosses itself, and straight lines: every layer,
    40 shapes each over 400 x 400 m."""
    random = np.random.default_rng(0)
    layers: dict[str, list[Any]] = {}
    for name in (n for names in LAYERS.values() for n in names):
        shapes: list[Any] = []
        for i in range(40):
            at, size = random.uniform(0, 400, 2), random.uniform(4, 60)
            if name.endswith("_divider"):
                shapes.append(LineString([at, at + random.normal(0, 30, 2)]))
                continue
            turns = np.sort(random.uniform(0, 2 * np.pi, 9))
            ring = np.stack([np.cos(turns), np.sin(turns)], 1) * random.uniform(0.5, 1, (9, 1))
            shell = Polygon(at + size * ring)
            if i % 3 == 0:  # a hole that a later shape may cover, and the other way round
                shell = Polygon(shell.exterior, [at + size * 0.1 * ring])
            shapes.append(shell)
        layers[name] = shapes
    layers["walkway"].append(Polygon([(180, 180), (220, 220), (220, 180), (180, 220)]))
    root = tmp_path_factory.mktemp("map")
    write(root, layers)
    return root


def devkit_masks(root: Path, patch: Patch) -> np.ndarray:
    """[6, x, y] as the published LoadBEVSegmentation asks for them."""
    names = [n for layers in LAYERS.values() for n in layers]
    box = (patch.x, patch.y, patch.side_m, patch.side_m)
    masks = NuScenesMap(str(root), NAME).get_map_mask(box, patch.angle_deg, names, (200, 200))
    by_layer = dict(zip(names, masks.transpose(0, 2, 1).astype(bool), strict=True))
    return np.stack([np.any([by_layer[n] for n in LAYERS[c]], axis=0) for c in MAP_CLASSES])


@pytest.mark.parametrize(
    "where",
    [(200, 200, 0.0), (200, 200, 0.3), (100.25, 310.5, 2.0), (40, 40, -2.9), (350, 90, np.pi / 2),
     (5, 380, -0.78), (-300, 0, 1.0)],
)  # fmt: skip
def test_raster_equals_the_devkit(random_map: Path, where: tuple[float, float, float]) -> None:
    layers = MapLayers.read(random_map / "maps" / "expansion" / f"{NAME}.json")
    to_global = pose(*where, tilt=0.02)
    found = layers.raster(to_global)
    yaw = np.arctan2(to_global[1, 0], to_global[0, 0])
    patch = Patch(x=where[0], y=where[1], side_m=100.0, angle_deg=yaw / np.pi * 180, mirrored=False)
    np.testing.assert_array_equal(found, devkit_masks(random_map, patch))
    assert found.any() == (where[0] > 0)


@pytest.mark.parametrize("seed", range(4))
def test_raster_of_an_augmented_frame_equals_the_devkit(random_map: Path, seed: int) -> None:
    layers = MapLayers.read(random_map / "maps" / "expansion" / f"{NAME}.json")
    random = np.random.default_rng(seed)
    augment = pose(*random.normal(0, 0.5, 2), random.uniform(-0.78, 0.78))
    augment[:3, :3] *= random.uniform(0.9, 1.1)
    to_global = pose(*random.uniform(50, 350, 2), random.uniform(-3, 3))
    patch = Patch.around(to_global, augment)
    np.testing.assert_array_equal(
        layers.raster(to_global, augment), devkit_masks(random_map, patch)
    )


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_a_crossing_lies_in_its_cells(tmp_path: Path, flips: tuple[int, int], yaw: float) -> None:
    """10..12 m right and 20..30 m ahead of the augmented frame: x cells 120..124, y cells 140..160
    (borders are filled too), wherever car and augmentation are."""
    augment = pose(0.4, -0.3, yaw) @ np.diag([*flips, 1.0, 1.0])
    to_global = pose(500, 300, 1.1)
    corners = [(10.05, 20.05), (12.05, 20.05), (12.05, 30.05), (10.05, 30.05)]
    shape = Polygon(moved(to_global @ np.linalg.inv(augment), corners))
    found = MapLayers.read(write(tmp_path, {"ped_crossing": [shape]})).raster(to_global, augment)
    assert found.shape == (6, 200, 200) and found.dtype == bool
    x, y = np.nonzero(found[CROSSING])
    shift = -1 if flips[0] * flips[1] < 0 else 0  # a reversed axis rounds the other way
    assert (x.min(), x.max()) == (120, 124)
    assert (y.min(), y.max()) == (140 + shift, 160 + shift)
    assert len(x) == 5 * 21
    assert not np.delete(found, CROSSING, axis=0).any()


def test_scale_moves_the_map_with_the_points(tmp_path: Path) -> None:
    """A wall 20 m ahead is 22 m ahead of a frame that is 1.1 times as large."""
    shape = Polygon([(-5, 20), (5, 20), (5, 24.9), (-5, 24.9)])
    layers = MapLayers.read(write(tmp_path, {"walkway": [shape]}))
    _, y = np.nonzero(layers.raster(np.eye(4), np.diag([1.1, 1.1, 1.1, 1]))[2])
    assert y.min() == 100 + 22 * 2


def test_holes_are_empty_and_lines_are_drawn(tmp_path: Path) -> None:
    ring = Polygon([(-20, -20), (20, -20), (20, 20), (-20, 20)],
                   [[(-10, -10), (10, -10), (10, 10), (-10, 10)]])  # fmt: skip
    bent = LineString([(-40, 10), (60, 20), (-40, 30)])  # leaves the square and comes back
    path = write(tmp_path, {"drivable_area": [ring], "lane_divider": [bent]})
    found = MapLayers.read(path).raster(np.eye(4))
    assert not found[0, 100, 100] and found[0, 70, 100] and not found[0, 150, 100]
    assert found[DIVIDER, 40, 122] and found[DIVIDER, 40, 157] and not found[DIVIDER, 40, 140]


def test_the_map_head_puts_x_first() -> None:
    """A BEV map whose value is the x of its cells comes out as the x of the target's cells."""
    head = MapHead(1, half_side_m=54.0)
    centres = torch.arange(-54 + 0.3, 54, 0.6)
    bev = centres[:, None].expand(180, 180)[None, None]
    out = torch.nn.functional.grid_sample(bev, head.grid[None], align_corners=False)[0, 0]
    wanted = torch.arange(-49.75, 50, 0.5)[:, None].expand(200, 200)
    torch.testing.assert_close(out, wanted, atol=1e-4, rtol=0)


def test_synthetic_streets_have_all_classes(street_root: Path) -> None:
    """The devkit opens the synthetic map and agrees on what surrounds every synthetic frame."""
    from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec

    spec = NuScenesSpec(root=str(street_root), version="v1.0-procedural", split="all")
    scenes = NuScenesScenes(spec)
    layers = MapLayers.read(street_root / "maps" / "expansion" / f"{NAME}.json")
    for token in scenes.tokens[::2]:
        to_global = scenes.lidar_to_global(token)
        found = layers.raster(to_global)
        assert found.any(axis=(1, 2)).all()
        assert found[0, 100, 99]  # the car stands on the road
        np.testing.assert_array_equal(found, devkit_masks(street_root, Patch.around(to_global)))
    at = scenes.lidar_to_global(scenes.tokens[0])[:2, 3]
    told = NuScenesMap(str(street_root), NAME).layers_on_point(*at)
    assert told["drivable_area"] and told["road_segment"] and not told["walkway"]
    roads = [p.bounds for p in read_map(layers.path)["drivable_area"]]
    assert len(roads) == 2 and not shapely.box(*roads[0]).intersects(shapely.box(*roads[1]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("node"), "node is missing"),
        (lambda d: d.update(version="1.2"), "version '1.2'; allowed: 1.3"),
        (lambda d: d["node"].pop(0), "token .* is unknown"),
        (lambda d: d["polygon"][0].pop("holes"), "polygon: a record has no holes"),
        (lambda d: d["walkway"][0].update(polygon_token="gone"), "walkway: token 'gone'"),
        (lambda d: d["line"][0]["node_tokens"].pop(), "divider: .*point"),
        (lambda d: d["node"][0].update(x="east"), "node: .*x 'east'"),
    ],
)
def test_damaged_maps_are_named(tmp_path: Path, damage: Any, message: str) -> None:
    square = Polygon([(0, 0), (9, 0), (9, 9)])
    path = write(tmp_path, {"walkway": [square], "road_divider": [LineString([(0, 0), (5, 5)])]})
    data = json.loads(path.read_text())
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=message) as error:
        MapLayers.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    path.write_text("{")
    with pytest.raises(InputError, match=NAME):
        MapLayers.read(path)
    with pytest.raises(InputError, match="absent"):
        MapLayers.read(tmp_path / "absent.json")
