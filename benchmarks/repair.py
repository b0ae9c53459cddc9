"""Repair: seconds of statistics and refit, and how much memory, beside plain forward passes.

`make bench` takes the demo's model and the published detector on 2 frames; by itself
`python -m benchmarks.repair 16` on 16 of them.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time

import torch

from sparsefront.models import NAMES, BEVFusionSmall, FusionModel, build
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import ImageSpec
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.procedural import make_scenes
from sparsefront.search.evaluation.calibration import calibration_batches, run


def speed(frames: int = 2) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_scenes(f"{folder}/data", num_scenes=4, workers=1, progress=False)
        spec = NuScenesSpec(
            root=f"{folder}/data", version="v1.0-procedural", split="procedural_train", num_sweeps=1
        )
        scenes = NuScenesScenes(spec)
        small = calibration_batches(scenes, ImageSpec(height=96, width=256), 0, 16, "cpu")
        torch.set_num_threads(1)
        measure("the demo's model, 1 thread", build(BEVFusionSmall()), small)
        torch.set_num_threads(2)
        whole = calibration_batches(
            scenes, ImageSpec(height=256, width=704), 0, frames, "cpu", batch_size=1
        )
        measure("mit_bevfusion-det, 2 threads", build(NAMES["mit_bevfusion-det"]()), whole)


def measure(name: str, model: FusionModel, batches: list[SensorBatch]) -> None:
    torch.manual_seed(0)
    model.eval()
    frames = sum(len(batch.tokens) for batch in batches)
    with torch.no_grad():
        run(model, batches[0])
        started = time.perf_counter()
        for batch in batches:
            run(model, batch)
    forward = time.perf_counter() - started
    before = peak_gib()
    started = time.perf_counter()
    moments = second_moments(model, batches, run, batch_size=len(batches[0].tokens))
    collected = time.perf_counter() - started
    groups = ModalityGroups.from_model(model)
    scores = Magnitude().scores(model, groups, [], lambda m, b: m.loss(b))
    mask = PruningMask.from_scores(scores, SparsityAllocation(overall=0.8), groups, model)
    started = time.perf_counter()
    report = refit_least_squares(model, mask, moments)
    refitted = time.perf_counter() - started
    started = time.perf_counter()
    reestimate_norms(model, batches, run)
    norms = time.perf_counter() - started
    size = sum(moment.numel() * moment.element_size() for moment in moments.values()) / 2**20
    print(
        f"repair     {name}, {frames} frames: statistics {collected / forward:.2f} x the forward "
        f"passes ({forward:.1f} s), {size:.0f} MiB; refit at 80 % {refitted:.2f} s of "
        f"{len(report.layers)} layers; norms {norms / forward:.2f} x; "
        f"{peak_gib() - before:.1f} GiB beyond the forward passes"
    )


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    speed(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
