"""Map targets beside nuscenes-devkit's get_map_mask, on a synthetic map of 200 junctions: 800
crossings and as many walkways, about what one of nuScenes' cities has.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nuscenes.map_expansion.map_api import NuScenesMap

from benchmarks.timing import seconds
from sparsefront.scenes.maps.expansion import LAYERS
from sparsefront.scenes.maps.raster import CELLS, MapLayers, Patch
from sparsefront.scenes.procedural.map_expansion import map_expansion
from sparsefront.scenes.procedural.street import make_street, street_start
from sparsefront.scenes.procedural.tables import LOCATION

STREETS, FRAMES = 200, 20


def speed() -> None:
    random = np.random.default_rng(0)
    places = [street_start(i, 4.5, 3.0) for i in range(STREETS)]
    streets = [make_street(random, p, random.uniform(-3, 3), 10.0) for p in places]
    layers: dict[str, list[Any]] = {}
    for street in streets:
        for name, shapes in street.layers.items():
            layers.setdefault(name, []).extend(shapes)
    patches = [
        Patch(x=places[i][0], y=places[i][1], side_m=100.0, angle_deg=17.0 * i, mirrored=False)
        for i in range(FRAMES)
    ]
    names = [name for group in LAYERS.values() for name in group]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "maps" / "expansion" / f"{LOCATION}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(map_expansion(layers, (3000.0, 6000.0))))
        ours, theirs = MapLayers.read(path), NuScenesMap(folder, LOCATION)

    def devkit(patch: Patch) -> object:
        box = (patch.x, patch.y, patch.side_m, patch.side_m)
        return theirs.get_map_mask(box, patch.angle_deg, names, (CELLS, CELLS))

    fast = seconds(lambda: [ours.cells(p) for p in patches]) / FRAMES
    slow = seconds(lambda: [devkit(p) for p in patches]) / FRAMES
    print(
        f"map targets, {STREETS} junctions: {1e3 * fast:.2f} ms a frame, "
        f"devkit {1e3 * slow:.0f} ms, {slow / fast:.0f} x",
        flush=True,
    )


if __name__ == "__main__":
    speed()
