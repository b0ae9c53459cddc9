"""KITTI's score beside a plain reading of the official program's loops, on made frames of 8 labels
and 15 detections. `python -m benchmarks.kitti_score 60 3769` (the number of frames of the usual val
split; the plain loops are run on the first 60 alone, as they take minutes).
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.kitti_plain import official
from sparsefront.scenes.kitti_files import KittiObjects
from sparsefront.scenes.scoring.kitti_detection import score

LABELS, DETECTIONS, PLAIN = 8, 15, 60
KINDS = ("car", "van", "pedestrian", "cyclist", "dontcare")
SHARES = (0.55, 0.05, 0.15, 0.1, 0.15)


def speed(sizes: tuple[int, ...] = (PLAIN, 600)) -> None:
    frames = made(max(sizes))
    score(*zip(*frames[:2], strict=True))  # compiled once
    few = frames[:PLAIN]
    started = time.perf_counter()
    theirs = [official(few, level) for level in range(3)]
    plain = time.perf_counter() - started
    for count in sizes:
        truth, found = zip(*frames[:count], strict=True)
        started = time.perf_counter()
        ours = score(truth, found)
        took = time.perf_counter() - started
        ratio = plain / len(few) / (took / count)
        print(
            f"KITTI's score, {count} frames: {took:.3f} s, {ratio:.0f} x plain loops a frame "
            f"({plain:.1f} s for {len(few)})",
            flush=True,
        )
        if count == len(few):
            wanted = [100 * sum(t["3d", "car"][0][1:]) / 40 for t in theirs]
            assert np.allclose(ours["3d"]["car"]["R40"], wanted, atol=1e-9)


def made(count: int) -> list[tuple[KittiObjects, KittiObjects]]:
    random = np.random.default_rng(0)
    return [frame(random) for _ in range(count)]


def frame(random: np.random.Generator) -> tuple[KittiObjects, KittiObjects]:
    """Labels all over the image, detections near them or anywhere, scores as of a detector."""
    corner = random.uniform((0, 150), (1100, 220), (LABELS, 2))
    truth = KittiObjects(
        kind=random.choice(KINDS, LABELS, p=SHARES), truncated=np.zeros(LABELS),
        occluded=random.choice([0.0, 1, 2, 3], LABELS), alpha=random.uniform(-3, 3, LABELS),
        pixels=np.concatenate([corner, corner + random.uniform(20, 120, (LABELS, 2))], axis=1),
        size=random.normal((1.5, 1.6, 3.9), 0.1, (LABELS, 3)),
        bottom=random.uniform((-20, 1.5, 5), (20, 1.8, 60), (LABELS, 3)),
        turn=random.uniform(-3, 3, LABELS), score=np.zeros(LABELS),
    )  # fmt: skip
    rows = np.arange(DETECTIONS) % LABELS
    nowhere = truth.kind == "dontcare"
    far = (random.random(DETECTIONS) < 0.3)[:, None]
    found = KittiObjects(
        kind=np.where(truth.kind[rows] == "dontcare", "car", truth.kind[rows]),
        truncated=np.zeros(DETECTIONS), occluded=np.zeros(DETECTIONS), alpha=truth.alpha[rows],
        pixels=truth.pixels[rows] + random.normal(0, 2, (DETECTIONS, 4)) + 200 * far,
        size=truth.size[rows] * random.normal(1, 0.03, (DETECTIONS, 3)),
        bottom=truth.bottom[rows] + random.normal(0, 0.1, (DETECTIONS, 3)) + 9 * far,
        turn=truth.turn[rows] + random.normal(0, 0.03, DETECTIONS),
        score=random.random(DETECTIONS),
    )  # fmt: skip
    truth.size[nowhere], truth.bottom[nowhere], truth.turn[nowhere] = -1, -1000, -10
    return truth, found


if __name__ == "__main__":
    speed(tuple(int(a) for a in sys.argv[1:]) or (PLAIN, 3769))
