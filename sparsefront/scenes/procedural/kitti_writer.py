"""A synthetic data set on disk in the layout of KITTI's object benchmark, labels by its rules."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import whole_folder
from sparsefront.scenes.procedural.kitti_frame import FOLDERS, write_frame
from sparsefront.scenes.procedural.writer import one_thread_each

SCHEMA = 1
VAL_EVERY = 4
NOTE = "procedural.json"


def make_kitti(
    root: str | Path,
    num_frames: int = 80,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes training/{image_2, velodyne, calib, label_2} and ImageSets/{train, val}.txt to `root`;
    every fourth frame is for validation.

    Frame i depends only on (seed, i). A root that holds the same set is left as it is; any other
    existing root raises InputError. The folder is there complete or not at all.
    """
    root = Path(os.path.expandvars(str(root)))
    for name, value, low in (("num_frames", num_frames, 1), ("seed", seed, 0)):
        if value < low:
            raise InputError(f"{name}: value {value}; allowed: {low} and above")
    recipe = {"format": "kitti", "schema": SCHEMA, "num_frames": num_frames, "seed": seed}
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        note = root / NOTE
        if note.is_file() and json.loads(note.read_text()) == recipe:
            return root
        raise InputError(
            f"root: {root} exists and holds something else; allowed: a new or empty folder"
        )
    with whole_folder(root) as unfinished:
        _all_frames(unfinished / "training", num_frames, seed, workers, progress)
        _image_sets(unfinished / "ImageSets", num_frames)
        (unfinished / NOTE).write_text(json.dumps(recipe))
    return root


def _all_frames(
    folder: Path, num_frames: int, seed: int, workers: int | None, progress: bool
) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    jobs = [(folder, seed, i) for i in range(num_frames)]
    with (
        one_thread_each(),
        ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool,
        Progress(console=Console(stderr=True), disable=not progress) as bar,
    ):
        done = pool.map(write_frame, *zip(*jobs, strict=True))
        for _ in bar.track(done, num_frames, description="making frames"):
            pass


def _image_sets(folder: Path, num_frames: int) -> None:
    folder.mkdir()
    names = [f"{i:06d}\n" for i in range(num_frames)]
    held_out = names[VAL_EVERY - 1 :: VAL_EVERY]
    (folder / "val.txt").write_text("".join(held_out))
    (folder / "train.txt").write_text("".join(n for n in names if n not in set(held_out)))
