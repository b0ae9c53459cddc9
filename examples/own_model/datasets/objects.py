"""Objects in front of a camera and a radar, drawn from a seed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

KINDS = ("car", "truck", "bicycle", "pedestrian")
SIZES_M = {"car": (1.8, 1.5), "truck": (2.6, 3.4), "bicycle": (0.6, 1.6), "pedestrian": (0.5, 1.8)}
RADAR = {"car": (30, 12.0), "truck": (48, 20.0), "bicycle": (12, 4.0), "pedestrian": (8, 2.0)}
"""Returns of an object and their strength."""


@cache
def drawn(split: str, count: int) -> dict[str, Any]:
    """image [N, 3, 32, 32] 0..1, radar [N, 64, 4] (x, y in 10 m, speed in 10 m/s, strength), label:
    kind [N] and distance_m [N], name: N words.
    """
    random = np.random.default_rng({"train": 1, "val": 2}[split])
    kinds = random.integers(0, len(KINDS), count)
    distances = random.uniform(5, 40, count)
    frames = [_frame(KINDS[kind], m, random) for kind, m in zip(kinds, distances, strict=True)]
    return {
        "image": torch.stack([torch.from_numpy(image) for image, _ in frames]),
        "radar": torch.stack([torch.from_numpy(returns) for _, returns in frames]),
        "label": {
            "kind": torch.from_numpy(kinds),
            "distance_m": torch.from_numpy(distances).float(),
        },
        "name": [f"{split}-{at}" for at in range(count)],
    }


def _frame(kind: str, distance: float, random: np.random.Generator) -> tuple[Any, Any]:
    image = random.normal(0.45, 0.12, (3, 32, 32)).astype(np.float32)
    width, height = (max(1, round(70 * size / distance)) for size in SIZES_M[kind])
    left = int(random.integers(0, max(1, 32 - width)))
    bottom = 30 - int(random.integers(0, 4))
    colour = random.uniform(0.1, 1.0, (3, 1, 1)).astype(np.float32)
    image[:, max(0, bottom - height) : bottom, left : left + width] += colour
    if random.random() < 0.25:  # glare: the camera says little
        image += random.normal(0, 0.8, image.shape).astype(np.float32)
    count, strength = RADAR[kind]
    returns = random.normal(0, 1, (64, 4)).astype(np.float32)
    returns[:, :2] *= 2.0
    returns[:, 3] = np.abs(returns[:, 3])
    own = returns[:count]
    own[:, 0] = distance / 10 + random.normal(0, 0.05, count)
    own[:, 1] = random.normal(0, SIZES_M[kind][0] / 10, count)
    own[:, 3] = strength / 10 + random.normal(0, 0.3, count)
    return image, returns[random.permutation(64)]
