"""A file of the nuScenes map expansion (version 1.3) as shapes of the six map classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import shapely

from sparsefront.errors import InputError
from sparsefront.scenes.batch import MAP_CLASSES

LAYERS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in MAP_CLASSES if name != "divider"},
    "divider": ("road_divider", "lane_divider"),
}
"""Layers of the map expansion that make up each of MAP_CLASSES."""
OLDEST = "1.3"


def read_map(path: str | Path) -> dict[str, list[Any]]:
    """Shapely polygons (for divider: lines) in metres of each of MAP_CLASSES, in the file's order.

    path is one of maps/expansion/*.json. InputError naming file, layer and record where damaged.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; allowed: a file of the map expansion, a download of its own"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: {error}; allowed: a map expansion file") from error
    version = data.get("version") if isinstance(data, dict) else None
    if not isinstance(version, str) or version < OLDEST:
        raise InputError(f"{path}: version {version!r}; allowed: {OLDEST} and above")
    reader = _Reader(path, data)
    return {c: [s for name in LAYERS[c] for s in reader.layer(name)] for c in MAP_CLASSES}


class _Reader:
    """Turns the records of a map file into shapes."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data = path, data
        self.nodes = {n["token"]: self._place(n) for n in self._rows("node", "token", "x", "y")}
        polygons = self._rows("polygon", "token", "exterior_node_tokens", "holes")
        self.polygons = {p["token"]: p for p in polygons}
        self.lines = {n["token"]: n for n in self._rows("line", "token", "node_tokens")}

    def layer(self, name: str) -> list[Any]:
        """Shapes of a layer in the file's order. As in the devkit, polygons that cross themselves
        count in drivable_area alone, and lines without nodes nowhere.
        """
        if name.endswith("_divider"):
            lines = [self._line(r) for r in self._rows(name, "token", "line_token")]
            return [line for line in lines if not line.is_empty]
        if name == "drivable_area":
            rows = self._rows(name, "token", "polygon_tokens")
            return [self._polygon(token, name) for r in rows for token in r["polygon_tokens"]]
        rows = self._rows(name, "token", "polygon_token")
        found = [self._polygon(r["polygon_token"], name) for r in rows]
        return [polygon for polygon in found if polygon.is_valid]

    def _rows(self, name: str, *fields: str) -> list[dict[str, Any]]:
        rows = self.data.get(name)
        if not isinstance(rows, list):
            raise InputError(f"{self.path}: {name} is missing; allowed: a list of records")
        for row in rows:
            for field in fields:
                if not isinstance(row, dict) or field not in row:
                    raise InputError(f"{self.path}: {name}: a record has no {field}: {row!r:.80}")
        return rows

    def _place(self, node: dict[str, Any]) -> tuple[float, float]:
        for axis in ("x", "y"):
            if not isinstance(node[axis], int | float) or not isfinite(node[axis]):
                raise InputError(
                    f"{self.path}: node: {node['token']!r}: {axis} {node[axis]!r}; "
                    "allowed: a finite number"
                )
        return float(node["x"]), float(node["y"])

    def _polygon(self, token: str, layer: str) -> shapely.Polygon:
        row = self._find(self.polygons, token, layer)
        holes = [self._places(h["node_tokens"], "polygon") for h in row["holes"]]
        shell = self._places(row["exterior_node_tokens"], "polygon")
        return self._shape(lambda: shapely.Polygon(shell, [h for h in holes if h]), token, layer)

    def _line(self, row: dict[str, Any]) -> shapely.LineString:
        found = self._find(self.lines, row["line_token"], "divider")
        places = self._places(found["node_tokens"], "line")
        return self._shape(lambda: shapely.LineString(places), row["line_token"], "divider")

    def _places(self, tokens: list[str], layer: str) -> list[tuple[float, float]]:
        return [self._find(self.nodes, token, layer) for token in tokens]

    def _find(self, known: dict[str, Any], token: str, layer: str) -> Any:
        if token not in known:
            raise InputError(f"{self.path}: {layer}: token {token!r} is unknown")
        return known[token]

    def _shape(self, make: Callable[[], Any], token: str, layer: str) -> Any:
        try:
            return make()
        except (ValueError, TypeError, shapely.errors.GEOSException) as error:
            raise InputError(f"{self.path}: {layer}: {token!r}: {str(error).strip()}") from error
