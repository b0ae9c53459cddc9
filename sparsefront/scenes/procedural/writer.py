"""A synthetic data set on disk in nuScenes format, so that nuscenes-devkit reads and scores it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import whole_folder
from sparsefront.scenes.procedural.map_expansion import write_map
from sparsefront.scenes.procedural.scene_writer import SyntheticScene, write_scene
from sparsefront.scenes.procedural.tables import SENSORS, SWEEPS, write_tables

SCHEMA = 2
"""1 had no radar; images and LiDAR points are the same."""


def make_scenes(
    root: str | Path,
    *,
    num_scenes: int = 40,
    seed: int = 0,
    frames: int = 10,
    workers: int | None = None,
    progress: bool = True,
    val_every: int = 4,
    street_map: bool = False,
) -> Path:
    """Writes a data set to `root`; every `val_every`-th scene is in the split procedural_val.

    street_map: the ground is a street, which maps/expansion describes; else it is plain.

    Scene i depends only on (seed, i, frames, street_map). A root that holds the same set is left as
    it is; any other existing root raises InputError. The folder is there complete or not at all.
    """
    root = Path(os.path.expandvars(str(root)))
    for name, value, low in (
        ("num_scenes", num_scenes, 1),
        ("frames", frames, 1),
        ("seed", seed, 0),
    ):
        if value < low:
            raise InputError(f"{name}: value {value}; allowed: {low} and above")
    recipe = {
        "schema": SCHEMA,
        "num_scenes": num_scenes,
        "seed": seed,
        "frames": frames,
        "val_every": val_every,
        "street_map": street_map,
    }
    if root.exists() and any(root.iterdir()):
        _check_same(root, recipe)
        return root
    with whole_folder(root) as unfinished:
        jobs = [(unfinished, seed, i, frames, street_map) for i in range(num_scenes)]
        scenes = _all_scenes(unfinished, jobs, workers, progress)
        write_tables(unfinished, [scene.rows for scene in scenes], num_scenes, seed, val_every)
        if street_map:
            write_map(unfinished, [scene.layers for scene in scenes])
        (unfinished / "procedural.json").write_text(json.dumps(recipe))
    return root


def _check_same(root: Path, recipe: dict[str, Any]) -> None:
    """InputError where a folder holds anything but the set of this recipe."""
    note = root / "procedural.json"
    found = json.loads(note.read_text()) if note.is_file() else None
    if found == recipe:
        return
    what = "exists and holds something else"
    schema = found.get("schema") if isinstance(found, dict) else SCHEMA
    if schema != SCHEMA:
        what = f"was made by another version (schema {schema}, now {SCHEMA}): remove it"
    raise InputError(f"root: {root} {what}; allowed: a new or empty folder")


def _all_scenes(
    root: Path, jobs: list[tuple[Path, int, int, int, bool]], workers: int | None, progress: bool
) -> list[SyntheticScene]:
    for sensor in SENSORS:
        (root / "samples" / sensor).mkdir(parents=True)
    for sensor in SWEEPS:
        (root / "sweeps" / sensor).mkdir(parents=True)
    with (
        one_thread_each(),
        ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool,
        Progress(console=Console(stderr=True), disable=not progress) as bar,
    ):
        return list(
            bar.track(
                pool.map(write_scene, *zip(*jobs, strict=True)),
                len(jobs),
                description="making scenes",
            )
        )


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside run BLAS on one thread; more fight over the cores."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
