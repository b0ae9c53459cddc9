"""The tracking score beside nuscenes-devkit's, on made tracks: per scene 40 frames, 15 objects in a
frame and as many predictions and half of that again. `python -m benchmarks.tracking_score 2` gives
the number of scenes (the devkit takes about half a minute for one).
"""

from __future__ import annotations

import sys
import time

import numpy as np

from sparsefront.scenes.batch import DETECTION_CLASSES
from sparsefront.scenes.scoring.box_table import BoxTable
from sparsefront.scenes.scoring.devkit_tracking import devkit_tables_score
from sparsefront.scenes.scoring.nuscenes_tracking import score
from sparsefront.scenes.scoring.track_table import TrackFrames, TrackTable

FRAMES, OBJECTS, FALSE = 40, 15, 8
LABELS = [DETECTION_CLASSES.index(n) for n in ("car", "pedestrian", "truck", "bicycle", "bus")]
SHARES = [0.5, 0.3, 0.1, 0.05, 0.05]
FRAME_US = 500_000


def speed(scenes: int = 1, frames: int = 12) -> None:
    inputs = made(scenes, frames)
    score(*inputs)  # compiles
    started = time.perf_counter()
    ours = score(*inputs)
    mine = time.perf_counter() - started
    started = time.perf_counter()
    wanted = devkit_tables_score(*inputs)
    theirs = time.perf_counter() - started
    apart = max(
        abs(ours.label_metrics[metric][name] - value)
        for metric, values in wanted.label_metrics.items()
        for name, value in values.items()
        if not np.isnan(value)
    )
    print(
        f"tracking score, {scenes} scenes of {frames} frames: {mine:.3f} s, devkit {theirs:.1f} s, "
        f"{theirs / mine:.0f} x, apart {apart:.0e}",
        flush=True,
    )


def made(scenes: int, frames: int) -> tuple[TrackTable, TrackTable, TrackFrames]:
    """Objects on straight ways; predictions beside them, one in ten missing, tracks that change,
    and false ones.
    """
    random = np.random.default_rng(0)
    count = scenes * frames
    start = random.uniform(-40, 40, (scenes, 1, OBJECTS, 2))
    speed = random.normal(scale=3, size=(scenes, 1, OBJECTS, 2))
    place = start + speed * 0.5 * np.arange(frames)[:, None, None]  # scenes, frames, objects, 2
    label = np.repeat(random.choice(LABELS, (scenes, 1, OBJECTS), p=SHARES), frames, axis=1)
    track = np.tile(np.arange(OBJECTS), (scenes, frames, 1))
    sample = np.repeat(np.arange(count), OBJECTS)
    wanted = table(sample, place.reshape(-1, 2), label.ravel(), track.ravel(), random)
    near = place + random.normal(scale=0.5, size=place.shape)
    changes = np.cumsum(random.random(track.shape) < 0.03, axis=1)
    mine = table(
        sample, near.reshape(-1, 2), label.ravel(), (track + 100 * changes).ravel(), random
    )
    mine = mine[random.random(len(mine)) > 0.1]
    false_at = np.repeat(np.arange(count), FALSE)
    false = table(
        false_at, random.uniform(-40, 40, (len(false_at), 2)),
        random.choice(LABELS, len(false_at), p=SHARES), 10_000 + np.arange(len(false_at)), random,
    )  # fmt: skip
    found = TrackTable(
        boxes=BoxTable.joined([mine.boxes, false.boxes]),
        track=np.concatenate([mine.track, false.track]),
    )
    times = 10**15 + FRAME_US * np.arange(count)
    return wanted, found, TrackFrames(scene=np.arange(count) // frames, timestamp=times)


def table(
    sample: np.ndarray, place: np.ndarray, label: np.ndarray, track: np.ndarray,
    random: np.random.Generator,
) -> TrackTable:  # fmt: skip
    count = len(sample)
    boxes = BoxTable(
        sample=sample, label=label,
        center=np.concatenate([place + 1000, np.zeros((count, 1))], axis=1),
        size=np.ones((count, 3)), rotation=np.tile([1.0, 0, 0, 0], (count, 1)),
        velocity=np.zeros((count, 2)), attribute=np.full(count, -1),
        score=random.random(track.max() + 1)[track], num_points=np.full(count, -1),
    )  # fmt: skip
    return TrackTable(boxes=boxes, track=track)


if __name__ == "__main__":
    speed(int(sys.argv[1]) if len(sys.argv) > 1 else 1, FRAMES)
