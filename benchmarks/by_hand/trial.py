"""One trial by hand: prune, fine-tune, measure, report; and what each part of it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor

from benchmarks.by_hand.evaluation import NO_BOX, devkit_score, write_results
from benchmarks.by_hand.task import MODALITIES, Task, dense_model, opened
from benchmarks.by_hand.training import fine_tune, make_permanent, measure_norms, prune_model
from sparsefront.pruning.cost import CostProfile

_cpu_at_end = 0.0
"""CPU seconds of this process when its last trial ended; 0 in a fresh one."""


def train(
    config: dict[str, Any], state: Mapping[str, Tensor], task: Task, profile: CostProfile
) -> None:
    """Ray Tune's function trainable."""
    global _cpu_at_end
    startup = time.process_time() - _cpu_at_end
    sparsity = {modality: config[modality] for modality in MODALITIES}
    folder = Path(tune.get_context().get_trial_dir())
    metrics, laps = run(sparsity, state, task, profile, folder)
    _cpu_at_end = time.process_time()
    tune.report({**metrics, **laps.report(), "startup_cpu_s": startup})


def run(
    sparsity: Mapping[str, float],
    state: Mapping[str, Tensor],
    task: Task,
    profile: CostProfile,
    folder: Path,
) -> tuple[dict[str, float], Laps]:
    """Metrics of the dense weights pruned so and fine-tuned; leaves weights and results file."""
    laps = Laps()
    torch.manual_seed(task.seed)
    torch.set_num_threads(task.threads)
    data = opened(task)
    model = dense_model(task, state)
    laps.end("setup")
    prune_model(model, sparsity)
    laps.end("prune")
    if task.steps:
        fine_tune(model, data.train, task)
    if task.norm_frames:
        measure_norms(model, data.train, task)
    make_permanent(model)
    torch.save(model.state_dict(), folder / "weights.pt")
    laps.end("train")
    boxes = write_results(model, data, task, folder / "results.json")
    laps.end("predict")
    scores = devkit_score(folder / "results.json", data, task) if boxes else NO_BOX
    laps.end("score")
    cost = profile.cost(model)
    metrics = {
        **scores,
        "GFLOPs": 2 * cost.macs / 1e9,
        "GMACs_dense": cost.macs_dense / 1e9,
        "nonzeros": float(cost.nonzeros),
    }
    laps.end("cost")
    return metrics, laps


class Laps:
    """Seconds on the clock and of this process' CPU, of each part since the one before."""

    def __init__(self) -> None:
        self._last = (time.monotonic(), time.process_time())
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    def end(self, part: str) -> None:
        now = (time.monotonic(), time.process_time())
        self.wall[part], self.cpu[part] = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now

    def report(self) -> dict[str, float]:
        """PART_wall_s and PART_cpu_s, and the sums of both."""
        found: dict[str, float] = {}
        for name, parts in (("wall", self.wall), ("cpu", self.cpu)):
            found |= {f"{part}_{name}_s": seconds for part, seconds in parts.items()}
            found[f"total_{name}_s"] = sum(parts.values())
        return found
