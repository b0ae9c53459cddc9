"""bev_pool's index_add beside a sort with segment sums and beside running sums (the published
QuickCumsum), at the published detector's size: 1.8 M features of 80 channels into 130 k cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from sparsefront.models.camera.bev_pool import bev_pool

FEATURES, CHANNELS, CELLS = 1_835_478, 80, 129_600


def by_segments(features: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    order = cells.argsort()
    lengths = torch.bincount(cells, minlength=num_cells)
    return torch.segment_reduce(features[order], "sum", lengths=lengths)


def by_running_sums(features: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    order = cells.argsort()
    cell = cells[order]
    last = torch.ones(len(cell), dtype=torch.bool)
    last[:-1] = cell[1:] != cell[:-1]
    total = features[order].cumsum(0)[last]
    out = features.new_zeros(num_cells, features.shape[1])
    out[cell[last]] = torch.cat([total[:1], total[1:] - total[:-1]])
    return out


def speed() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(FEATURES, CHANNELS, generator=random)
    cells = torch.randint(CELLS, (FEATURES,), generator=random)
    exact = torch.zeros(CELLS, CHANNELS, dtype=torch.float64)
    exact.index_add_(0, cells, features.double())
    ways: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
        "index_add": bev_pool, "sort, segment sums": by_segments,
        "sort, running sums": by_running_sums,
    }  # fmt: skip
    took = {}
    for name, way in ways.items():
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            found = way(features, cells, CELLS)
            seconds.append(time.perf_counter() - started)
        took[name] = min(seconds)
        off = float((found - exact).abs().max())
        ratio = took[name] / took["index_add"]
        print(f"pooling, {name}: {took[name]:.2f} s, {ratio:.1f} x index_add, off by {off:.1e}")
