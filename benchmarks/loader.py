"""The loader beside the bare decode of the same files, on frames of nuScenes' size (six 1600 x 900
images, ten LiDAR sweeps), in this process and by workers; and memory of the workers over epochs.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import inf
from multiprocessing import active_children, get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.store import write_tables
from sparsefront.scenes.keyframe import CAMERAS, LIDAR
from sparsefront.scenes.loader import Loader
from sparsefront.scenes.loading.images import AS_STORED, ImageSpec
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec

FilesOfFrame = tuple[list[Path], list[Path]]
Files = list[FilesOfFrame]
SWEEPS, POINTS = 9, 34_000
PUBLISHED = ImageSpec(height=256, width=704, scale=0.48, crop_top=1.0)


def speed(workers: int = 2) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPARSEFRONT_STORES"] = f"{folder}/stores"
        root = Path(folder) / "data"
        write_tables(root / "v1.0-mini", 1)
        write_files(root)
        scenes = NuScenesScenes(NuScenesSpec(root=str(root), split="all", num_sweeps=SWEEPS))
        files = [files_of(scenes, token) for token in scenes.tokens]
        in_process(scenes, files)
        by_workers(scenes, files, workers)


def in_process(scenes: NuScenesScenes, files: Files) -> None:
    """CPU time, which other programs on the machine do not change."""
    loader = Loader(scenes, PUBLISHED, None, 4, shuffle=False, seed=0)
    best = {"loader": inf, "bare": inf}
    for _ in range(3):  # turn by turn; the first warms up
        scenes.decoded.clear()
        for name, work in (("loader", partial(read, loader)), ("bare", partial(bare, files, None))):
            best[name] = min(best[name], took(work, time.process_time) / len(files))
    print(
        f"loader, in this process: {best['loader'] * 1e3:.0f} ms of CPU a frame, bare decode of "
        f"the same files {best['bare'] * 1e3:.0f}: {best['bare'] / best['loader']:.2f} of its rate",
        flush=True,
    )


def by_workers(scenes: NuScenesScenes, files: Files, count: int) -> None:
    """Frames a second, and memory of the workers."""
    loader = Loader(scenes, PUBLISHED, None, 4, shuffle=False, seed=0, workers=count)
    best = {"loader": inf, "bare": inf}
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        for _ in range(3):
            for name, work in (
                ("loader", partial(read, loader)),
                ("bare", partial(bare, files, pool)),
            ):
                best[name] = min(best[name], took(work, time.perf_counter) / len(files))
    print(
        f"loader, {count} workers: {1 / best['loader']:.1f} frames/s, bare decode by as many "
        f"processes {1 / best['bare']:.1f}: {best['bare'] / best['loader']:.2f} of it",
        flush=True,
    )
    memory(loader)


def read(loader: Loader) -> None:
    """One epoch."""
    deque(loader, maxlen=0)


def write_files(root: Path) -> None:
    """Images and points that the tables name: a few distinct ones, linked."""
    random = np.random.default_rng(0)
    rows = json.loads((root / "v1.0-mini" / "sample_data.json").read_text())
    sources = []
    for number in range(6):
        low = Image.fromarray(random.integers(0, 255, (90, 160, 3)).astype(np.uint8))
        smooth = np.asarray(low.resize((1600, 900), Image.Resampling.BICUBIC)).astype(float)
        noisy = smooth + random.normal(0, 4, smooth.shape)
        sources.append(root / f"{number}.jpg")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(sources[-1], quality=92)
    points = random.uniform(-50, 50, (POINTS, 5)).astype(np.float32)
    points.tofile(root / "points.bin")
    for at, row in enumerate(rows):
        if row["filename"].startswith("sweeps/RADAR"):
            continue
        place = root / row["filename"]
        place.parent.mkdir(parents=True, exist_ok=True)
        lidar = "LIDAR" in row["filename"]
        os.link(root / "points.bin" if lidar else sources[at % 6], place)


def memory(loader: Loader, epochs: int = 3) -> None:
    """Private memory of the workers after each epoch."""
    found = []
    for _ in range(epochs):
        read(loader)
        found.append(sum(private_mib(p.pid or 0) for p in active_children()))
    shown = ", ".join(f"{value:.0f}" for value in found)
    print(f"loader: private memory of the workers after each epoch: {shown} MiB", flush=True)


def private_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def took(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def files_of(scenes: NuScenesScenes, token: str) -> FilesOfFrame:
    """Images and point files of a frame."""
    reader, sample = scenes.reader, int(scenes.samples[scenes.tokens.index(token)])
    row = int(reader.file_rows(sample, (LIDAR,))[0])
    sweeps = [row, *reader.rows_before(row, SWEEPS)]
    images = [reader.path_of(r) for r in reader.file_rows(sample, CAMERAS)]
    return images, [reader.path_of(r) for r in sweeps]


def bare(files: Files, pool: ProcessPoolExecutor | None) -> None:
    list(map(decode, files) if pool is None else pool.map(decode, files, chunksize=4))


def decode(files: FilesOfFrame) -> int:
    """Pixels and numbers read."""
    images = [cv2.imdecode(np.fromfile(path, np.uint8), AS_STORED).size for path in files[0]]
    return sum(images) + sum(np.fromfile(path, np.float32).size for path in files[1])


if __name__ == "__main__":
    speed()
