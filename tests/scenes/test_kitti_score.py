"""KITTI's average precision against a plain reading of the rules, one detection at a time."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from scenes.scoring.kitti_detection import (
    LEAST,
    MAX_OCCLUSION,
    MAX_TRUNCATION,
    MIN_PIXELS,
    NEIGHBOUR,
    KittiObjects,
    from_above,
    in_image,
    in_space,
    read_objects,
    score,
    thresholds,
)

REAL = (
    Path(os.environ.get("SPARSEFRONT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "kitti"
)


def take(boxes: KittiObjects, rows: np.ndarray) -> KittiObjects:
    return KittiObjects(**{f.name: getattr(boxes, f.name)[rows] for f in fields(boxes)})


def random_frame(random: np.random.Generator, count: int) -> tuple[KittiObjects, KittiObjects]:
    """Objects of all kinds, some ignored ones, DontCare regions; detections near and far."""
    kinds = ["car", "van", "pedestrian", "person_sitting", "cyclist", "truck", "dontcare"]
    corner = random.uniform(0, 300, (count, 2))
    truth = KittiObjects(
        kind=random.choice(kinds, count, p=[0.4, 0.1, 0.15, 0.05, 0.1, 0.1, 0.1]),
        truncated=random.choice([0, 0.1, 0.2, 0.4, 0.6], count),
        occluded=random.choice([0.0, 1, 2, 3], count, p=[0.6, 0.2, 0.1, 0.1]),
        alpha=random.uniform(-3, 3, count),
        pixels=np.concatenate([corner, corner + random.uniform(15, 90, (count, 2))], axis=1),
        size=random.uniform(1, 4, (count, 3)),
        bottom=random.uniform(-8, 8, (count, 3)),
        turn=random.uniform(-3, 3, count),
        score=np.zeros(count),
    )
    rows = random.integers(0, count, 2 * count)
    near = take(truth, rows)
    many = len(rows)
    found = KittiObjects(
        kind=np.where(near.kind == "dontcare", "car", near.kind),
        truncated=near.truncated,
        occluded=near.occluded,
        alpha=near.alpha + random.normal(scale=0.3, size=many),
        pixels=near.pixels + random.normal(scale=2.0, size=(many, 4)),
        size=near.size * random.uniform(0.9, 1.1, (many, 3)),
        bottom=near.bottom + random.normal(scale=0.1, size=(many, 3)),
        turn=near.turn + random.normal(scale=0.1, size=many),
        score=random.random(many).round(2),
    )
    return truth, found


def plainly(frames: list, overlap, kind: str, level: int, in_pixels: bool) -> tuple:  # type: ignore[no-untyped-def, type-arg]
    """Both passes with loops over objects and detections, as the official program has them."""

    def passes(threshold: float | None) -> tuple[int, int, float, list[float], int]:
        right = wrong = total = 0
        similar, hits = 0.0, []
        for truth, found in frames:
            shared = overlap(found, truth)
            taken = [False] * len(found)
            small = [abs(p[3] - p[1]) < MIN_PIXELS[level] for p in found.pixels]
            state = [
                1 if s else (0 if k == kind else -1) for s, k in zip(small, found.kind, strict=True)
            ]
            low = [threshold is not None and s < threshold for s in found.score]
            for i in range(len(truth)):
                high = truth.pixels[i, 3] - truth.pixels[i, 1]
                hard = (
                    truth.occluded[i] > MAX_OCCLUSION[level]
                    or truth.truncated[i] > MAX_TRUNCATION[level]
                    or high <= MIN_PIXELS[level]
                )
                if truth.kind[i] == kind:
                    own = 1 if hard else 0
                elif truth.kind[i] == NEIGHBOUR[kind]:
                    own = 1
                else:
                    continue
                total += own == 0
                chosen, best, by_ignored = -1, None, False
                for j in range(len(found)):
                    if state[j] == -1 or taken[j] or low[j] or not shared[j, i] > LEAST[kind]:
                        continue
                    if threshold is None:
                        if best is None or found.score[j] > best:
                            chosen, best = j, found.score[j]
                    elif state[j] == 0 and (best is None or by_ignored or shared[j, i] > best):
                        chosen, best, by_ignored = j, shared[j, i], False
                    elif state[j] == 1 and best is None:
                        chosen, best, by_ignored = j, 0.0, True
                if chosen < 0:
                    continue
                taken[chosen] = True
                if own == 0 and state[chosen] == 0:
                    right += 1
                    hits.append(float(found.score[chosen]))
                    similar += (1 + math.cos(truth.alpha[i] - found.alpha[chosen])) / 2
            for j in range(len(found)):
                if taken[j] or state[j] != 0 or low[j]:
                    continue
                a = found.pixels[j]
                excused = False
                for region in truth.pixels[truth.kind == "dontcare"]:
                    w = min(a[2], region[2]) - max(a[0], region[0])
                    h = min(a[3], region[3]) - max(a[1], region[1])
                    share = max(w, 0) * max(h, 0) / ((a[2] - a[0]) * (a[3] - a[1]))
                    excused |= in_pixels and share > LEAST[kind]
                wrong += not excused
        return right, wrong, similar, hits, total

    _, _, _, hits, total = passes(None)
    precision, aos = np.zeros(41), np.zeros(41)
    levels = thresholds(hits, total)
    for n, threshold in enumerate(levels):
        right, wrong, similar, _, _ = passes(threshold)
        precision[n] = right / (right + wrong) if right + wrong else 0
        aos[n] = similar / (right + wrong) if right + wrong else 0
    for n in range(len(levels)):
        precision[n], aos[n] = precision[n:].max(), aos[n:].max()
    return precision, aos


@pytest.mark.parametrize("seed", range(3))
def test_random_frames(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = [random_frame(random, int(random.integers(1, 9))) for _ in range(12)]
    ours = score([t for t, _ in frames], [d for _, d in frames])
    for metric, overlap in (("bbox", in_image), ("bev", from_above), ("3d", in_space)):
        for kind in LEAST:
            for level in range(3):
                precision, aos = plainly(frames, overlap, kind, level, metric == "bbox")
                found = ours[metric][kind]
                assert found["R40"][level] == pytest.approx(100 * precision[1:].sum() / 40)
                assert found["R11"][level] == pytest.approx(100 * precision[::4].sum() / 11)
                if metric == "bbox":
                    assert ours["aos"][kind]["R40"][level] == pytest.approx(
                        100 * aos[1:].sum() / 40
                    )


def test_perfect_detections_of_few_objects() -> None:
    """N objects give N points: (N - 1) / 40 at 40 points."""
    random = np.random.default_rng(0)
    frames = [random_frame(random, 6)[0] for _ in range(10)]
    perfect = [
        KittiObjects(
            **{**{f.name: getattr(t, f.name) for f in fields(t)}, "score": np.ones(len(t))}
        )
        for t in frames
    ]
    for truth in frames:
        truth.pixels[:, 3] = truth.pixels[:, 1] + 50
        truth.occluded[:], truth.truncated[:] = 0, 0
        truth.kind[:] = np.where(truth.kind == "dontcare", "truck", truth.kind)
    cars = int(sum((t.kind == "car").sum() for t in frames))
    assert 10 < cars < 40
    found = score(
        frames,
        [KittiObjects(**{**vars(p), "kind": t.kind}) for p, t in zip(perfect, frames, strict=True)],
    )
    assert found["3d"]["car"]["R40"][0] == pytest.approx(100 * (cars - 1) / 40)


def test_rectangles_by_hand() -> None:
    """4 x 2 m, a quarter turn: half of each in common, a third of the union."""
    box = {
        "kind": np.array(["car"]), "truncated": np.zeros(1), "occluded": np.zeros(1),
        "alpha": np.zeros(1), "pixels": np.zeros((1, 4)), "size": np.array([[1.5, 2.0, 4.0]]),
        "bottom": np.zeros((1, 3)), "score": np.ones(1),
    }  # fmt: skip
    still = KittiObjects(**box, turn=np.zeros(1))
    turned = KittiObjects(**box, turn=np.array([math.pi / 2]))
    assert from_above(still, turned)[0, 0] == pytest.approx(4 / 12)
    raised = KittiObjects(**{**box, "bottom": np.array([[0.0, -0.75, 0.0]])}, turn=np.zeros(1))
    assert in_space(still, raised)[0, 0] == pytest.approx(1 / 3)


def test_wrong_lines(tmp_path: Path) -> None:
    path = tmp_path / "000000.txt"
    line = "Car 0 0 0 0 0 50 50 1.5 1.6 4.0 0 1 10 0"
    path.write_text(f"{line}\n{line.rpartition(' ')[0]}\n")
    with pytest.raises(ValueError, match=r"000000\.txt: line 2: 14 columns; allowed: 15"):
        read_objects(path, scored=False)
    path.write_text(f"{line} nan\n")
    with pytest.raises(ValueError, match="line 1: a number is not finite"):
        read_objects(path, scored=True)
    path.write_text(f"{line} x\n")
    with pytest.raises(ValueError, match="line 1: could not convert"):
        read_objects(path, scored=True)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real KITTI detections here")
def test_real_detections() -> None:
    names = sorted(p.name for p in (REAL / "detections" / "point_gnn").glob("*.txt"))
    truth = [read_objects(REAL / "training" / "label_2" / n, scored=False) for n in names]
    found = [read_objects(REAL / "detections" / "point_gnn" / n, scored=True) for n in names]
    ours = score(truth, found)
    for level in range(3):
        precision, _ = plainly(list(zip(truth, found, strict=True)), in_space, "car", level, False)
        assert ours["3d"]["car"]["R40"][level] == pytest.approx(100 * precision[1:].sum() / 40)
    assert ours["3d"]["car"]["R40"][1] > 10
