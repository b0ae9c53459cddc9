"""Labelled objects of a training split with the points inside them, memory-mapped: what ground-
truth paste draws from (SECOND: Yan et al., Sensors 2018, sec. 3.2.3).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import whole_folder
from sparsefront.scenes.data_set import DataSet
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.geometry import Array, points_in_boxes
from sparsefront.scenes.loading.lidar_sweeps import FIELDS
from sparsefront.scenes.store.sample_store import lock_folder

FRAMES_AT_ONCE = 16
"""Frames a process reads at a time: enough to be worth a call, few enough to show progress."""


@dataclass(frozen=True, kw_only=True)
class PasteDatabase:
    """N objects: boxes [N, 9] in the LiDAR frame they were seen in, labels [N], and of object i the
    points [first[i] : first[i + 1]] of points [P, 5] (x, y, z, intensity, delta t), as they were.
    """

    boxes: Array
    labels: NDArray[np.int64]
    first: NDArray[np.int64]
    points: NDArray[np.float32]

    def points_of(self, row: int) -> NDArray[np.float32]:
        """[P, 5] of one object."""
        return self.points[self.first[row] : self.first[row + 1]]


def open_database(scenes: DataSet) -> PasteDatabase:
    """The objects of all frames of a split, gathered on first use. Frames that cannot be read have
    none where the scenes may skip them. InputError where no object has points.
    """
    source = json.dumps([asdict(scenes.spec), scenes.on_bad_sample], sort_keys=True)
    key = hashlib.sha256(source.encode()).hexdigest()[:10]
    folder = scenes.objects_folder(key)
    if not folder.is_dir():
        with lock_folder(folder):
            if not folder.is_dir():
                _write_database(folder, scenes)
    return _map_database(folder)


@lru_cache(maxsize=4)
def _map_database(folder: Path) -> PasteDatabase:
    points = np.memmap(folder / "points.bin", np.float32, "r").reshape(-1, FIELDS)
    objects = np.load(folder / "objects.npz")
    return PasteDatabase(
        boxes=objects["boxes"], labels=objects["labels"], first=objects["first"], points=points
    )


def _write_database(folder: Path, scenes: DataSet) -> None:
    """The folder is there complete or not at all."""
    with whole_folder(folder) as unfinished:
        boxes, labels, counts = [], [], []
        with (unfinished / "points.bin").open("wb") as points:
            for found in _gather_objects(scenes):
                boxes.append(found.boxes)
                labels.append(found.labels)
                counts.append(np.diff(found.first))
                points.write(found.points.tobytes())
        if not sum(int(c.sum()) for c in counts):
            raise InputError(
                f"paste: no object of {len(scenes.tokens)} frames has points; allowed: some"
            )
        first = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        np.savez(
            unfinished / "objects.npz", boxes=np.concatenate(boxes), labels=np.concatenate(labels),
            first=first.astype(np.int64),
        )  # fmt: skip


def _gather_objects(scenes: DataSet) -> Iterator[PasteDatabase]:
    """Objects of a few frames at a time, in the order of the frames."""
    tokens = scenes.tokens
    parts = [tokens[i : i + FRAMES_AT_ONCE] for i in range(0, len(tokens), FRAMES_AT_ONCE)]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("gathering objects to paste", total=len(parts))
        with _pool(len(parts)) as mapped:
            for found in mapped(_objects, [scenes] * len(parts), parts):
                bar.advance(task)
                yield found


@contextmanager
def _pool(parts: int) -> Iterator[Callable[..., Iterable[PasteDatabase]]]:
    """`map` over processes, or here where there is little to do."""
    count = min(parts, os.cpu_count() or 1)
    if count < 4:
        yield map
        return
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        yield pool.map


def _objects(scenes: DataSet, tokens: list[str]) -> PasteDatabase:
    boxes, labels, points = [np.zeros((0, 9))], [np.zeros(0, np.int64)], []
    for token in tokens:
        try:
            frame = scenes.frame(token)
        except BadSample:
            if scenes.on_bad_sample == "raise":
                raise
            continue  # counted where the frame itself is asked for
        boxes.append(frame.boxes)
        labels.append(frame.labels)
        inside = points_in_boxes(frame.points, frame.boxes)
        points += [frame.points[own] for own in inside]
    counts = [len(p) for p in points]
    return PasteDatabase(
        boxes=np.concatenate(boxes), labels=np.concatenate(labels),
        first=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        points=np.concatenate([np.zeros((0, FIELDS), np.float32), *points]),
    )  # fmt: skip
