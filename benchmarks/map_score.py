"""The map score beside the published BEVFusion's way: every prediction kept, then each class at
seven thresholds over all of them.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.timing import seconds
from sparsefront.scenes.scoring.map_segmentation import THRESHOLDS, MapScoreCounter

SAMPLES = 40


def speed() -> None:
    random = np.random.default_rng(0)
    shape = (SAMPLES, 6, 200, 200)
    given = random.random(shape).astype(np.float32)
    wanted = random.random(shape) < 0.3

    def ours() -> None:
        counts = MapScoreCounter()
        for probabilities, cells in zip(given, wanted, strict=True):
            counts.add(probabilities, cells)
        counts.result()

    def theirs() -> None:
        thresholds = torch.tensor(THRESHOLDS)
        for kind in range(shape[1]):
            for probabilities, cells in zip(given, wanted, strict=True):
                found = torch.from_numpy(probabilities[kind]).reshape(-1)[:, None] >= thresholds
                truth = torch.from_numpy(cells[kind]).reshape(-1)[:, None]
                for both in (found & truth, found & ~truth, ~found & truth):
                    both.sum(dim=0).float()

    ours()  # compiles
    fast, slow = seconds(ours), seconds(theirs)
    print(
        f"map score: {fast / SAMPLES * 1e3:.2f} ms a sample, as published "
        f"{slow / SAMPLES * 1e3:.1f} ms, {slow / fast:.0f} x",
        flush=True,
    )


if __name__ == "__main__":
    speed()
