"""Weights by rule: every tensor is a function of its published name and shape; no file is needed.

With them two implementations can be compared number for number. A tensor is drawn from PCG64
seeded with the CRC-32 of its name; scales keep the activations of random weights in a sane range.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sparsefront.models.checkpoint.dialect import COUNTER, FIXED, Entry

GAINS = {
    r"lidar\.backbone\.conv_input\.0\.weight$": 0.06,
    r"vtransform\.dtransform\.0\.weight$": 0.1,
    r"vtransform\.downsample\.0\.weight$": 0.03,
    r"position_embedding_head\.0\.weight$": 0.02,
    r"heatmap_head\.1\.weight$": 2.0,
    r"multihead_attn\.in_proj_weight$": 0.5,
    r"multihead_attn\.out_proj\.weight$": 0.2,
    r"prediction_heads\..*\.dim\.1\.weight$": 0.5,
    r"task_heads\..*\.(reg|height|dim)\.1\.weight$": 0.2,
}
OFFSETS = {r"(heatmap_head\.1|\.heatmap\.1)\.bias$": -2.0}


def weights_by_rule(entries: Mapping[str, Entry]) -> dict[str, Tensor]:
    """float32 tensors of a published state dict; constants and counters are left out."""
    shapes = {key: tuple(entry.tensor.shape) for key, entry in entries.items()}
    skipped = (*FIXED, COUNTER)
    return {
        key: torch.from_numpy(_values(key, shapes).astype(np.float32).reshape(shapes[key]))
        for key in shapes
        if key.rpartition(".")[2] not in skipped
    }


def _values(key: str, shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    shape = shapes[key]
    stem, _, last = key.rpartition(".")
    random = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    count = int(np.prod(shape, dtype=np.int64))
    if last == "running_mean":
        return 0.05 * random.standard_normal(count)
    if last == "running_var":
        return 0.5 + random.random(count)
    if last == "relative_position_bias_table":
        return 0.02 * random.standard_normal(count)
    if last in ("weight", "in_proj_weight"):
        if len(shape) == 1:
            return 0.8 + 0.4 * random.random(count)
        fan_in = int(np.prod(shape[:4] if len(shape) == 5 else shape[1:], dtype=np.int64))
        return random.standard_normal(count) * (np.sqrt(2 / fan_in) * _first(GAINS, key, 1.0))
    norm = len(shapes.get(f"{stem}.weight", (0, 0))) == 1
    return random.standard_normal(count) * (0.05 if norm else 0.02) + _first(OFFSETS, key, 0.0)


def _first(table: Mapping[str, float], key: str, otherwise: float) -> float:
    return next((v for pattern, v in table.items() if re.search(pattern, key)), otherwise)
