"""A made data set on disk in nuScenes format, so that nuscenes-devkit reads and scores it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from scenes.procedural.scene_writer import write_scene
from scenes.procedural.tables import SENSORS, Rows, write_tables

SCHEMA = 1


def make_scenes(
    root: str | Path,
    *,
    num_scenes: int = 40,
    seed: int = 0,
    frames: int = 10,
    workers: int | None = None,
    progress: bool = True,
    val_every: int = 4,
) -> Path:
    """Write a data set to `root`; every `val_every`-th scene is in the split procedural_val.

    Scene i depends only on (seed, i, frames). A root that holds the same set is left as it is; any
    other existing root raises ValueError. Made under a temporary name, then renamed.
    """
    root = Path(os.path.expandvars(str(root)))
    for name, value, low in (
        ("num_scenes", num_scenes, 1),
        ("frames", frames, 1),
        ("seed", seed, 0),
    ):
        if value < low:
            raise ValueError(f"{name}: value {value}; allowed: {low} and above")
    recipe = {
        "schema": SCHEMA,
        "num_scenes": num_scenes,
        "seed": seed,
        "frames": frames,
        "val_every": val_every,
    }
    if root.exists() and any(root.iterdir()):
        note = root / "procedural.json"
        if note.is_file() and json.loads(note.read_text()) == recipe:
            return root
        raise ValueError(
            f"root: {root} exists and holds something else; allowed: a new or empty folder"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        rows = _all_scenes(made, num_scenes, seed, frames, workers, progress)
        write_tables(made, rows, num_scenes, seed, val_every)
        (made / "procedural.json").write_text(json.dumps(recipe))
        made.chmod(0o755)
        if root.exists():
            root.rmdir()
        made.rename(root)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return root


def _all_scenes(
    made: Path, num_scenes: int, seed: int, frames: int, workers: int | None, progress: bool
) -> list[Rows]:
    for sensor in SENSORS:
        (made / "samples" / sensor).mkdir(parents=True)
    (made / "sweeps" / "LIDAR_TOP").mkdir(parents=True)
    jobs = [(made, seed, i, frames) for i in range(num_scenes)]
    with (
        one_thread_each(),
        ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool,
        Progress(console=Console(stderr=True), disable=not progress) as bar,
    ):
        return list(
            bar.track(
                pool.map(write_scene, *zip(*jobs, strict=True)),
                num_scenes,
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
