"""Shapes as a file of the nuScenes map expansion, version 1.3, that NuScenesMap opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import shapely
from shapely.validation import explain_validity

from sparsefront.errors import InputError
from sparsefront.scenes.procedural.tables import LOCATION, token

POLYGONS = ("drivable_area", "road_segment", "road_block", "lane", "ped_crossing", "walkway",
            "stop_line", "carpark_area", "lane_connector")  # fmt: skip
LINES = ("road_divider", "lane_divider", "traffic_light")
EXTRA: dict[str, dict[str, Any]] = {
    "ped_crossing": {"road_segment_token": ""},
    "stop_line": {"stop_line_type": "PED_CROSSING", "ped_crossing_tokens": [],
                  "traffic_light_tokens": [], "road_block_token": ""},
    "carpark_area": {"orientation": 0.0, "road_block_token": ""},
    "road_segment": {"is_intersection": False, "drivable_area_token": ""},
    "road_divider": {"road_segment_token": ""},
    "lane_divider": {"lane_divider_segments": []},
}  # fmt: skip
"""Fields of records that the format asks for and a synthetic street leaves open."""
Rows = list[dict[str, Any]]


def write_map(root: Path, scenes: list[dict[str, list[Any]]]) -> None:
    """The map of all scenes' streets, under maps/expansion of a data root. InputError for a shape
    that crosses itself: the devkit would leave it out without a word.
    """
    names = list(dict.fromkeys(name for layers in scenes for name in layers))
    layers = {name: [shape for found in scenes for shape in found[name]] for name in names}
    for name, shapes in layers.items():
        for wrong in (shape for shape in shapes if not shape.is_valid):
            raise InputError(f"{name}: {explain_validity(wrong)}; allowed: valid shapes")
    edges = shapely.union_all(layers["drivable_area"]).bounds
    folder = root / "maps" / "expansion"
    folder.mkdir()
    content = map_expansion(layers, (edges[2], edges[3]))
    (folder / f"{LOCATION}.json").write_text(json.dumps(content))


def map_expansion(layers: dict[str, list[Any]], canvas_m: tuple[float, float]) -> dict[str, Any]:
    """The content of a maps/expansion file: shapely polygons and lines in metres by layer name.

    canvas_m: width and height of the whole map. A polygon may have holes.
    """
    writer = _Writer()
    for name in (*POLYGONS, *LINES):
        for number, shape in enumerate(layers.get(name, [])):
            writer.add(name, number, shape)
    return {**writer.tables, "version": "1.3", "canvas_edge": list(canvas_m),
            "arcline_path_3": {}, "connectivity": {}}  # fmt: skip


class _Writer:
    def __init__(self) -> None:
        names = ("node", "polygon", "line", *POLYGONS, *LINES)
        self.tables: dict[str, Rows] = {name: [] for name in names}

    def add(self, name: str, number: int, shape: Any) -> None:
        own = token(0, "map", name, number)
        field, value = self._geometry(name, own, shape)
        self.tables[name].append({"token": own, field: value, **EXTRA.get(name, {})})

    def _geometry(self, name: str, own: str, shape: Any) -> tuple[str, Any]:
        place = token(0, "shape", own)
        if name in LINES:
            nodes = self._nodes(place, shapely.get_coordinates(shape))
            self.tables["line"].append({"token": place, "node_tokens": nodes})
            return "line_token", place
        outer = self._nodes(place, shapely.get_coordinates(shape.exterior)[:-1])
        holes = [
            {"node_tokens": self._nodes(f"{place}/{i}", shapely.get_coordinates(hole)[:-1])}
            for i, hole in enumerate(shape.interiors)
        ]
        row = {"token": place, "exterior_node_tokens": outer, "holes": holes}
        self.tables["polygon"].append(row)
        return ("polygon_tokens", [place]) if name == "drivable_area" else ("polygon_token", place)

    def _nodes(self, shape: str, places: Any) -> list[str]:
        tokens = [token(0, "node", shape, i) for i in range(len(places))]
        self.tables["node"] += [
            {"token": own, "x": float(x), "y": float(y)}
            for own, (x, y) in zip(tokens, places, strict=True)
        ]
        return tokens
