"""`make bench`: ratios of two ways measured in one run, as these machines are noisy.

scoring   seconds of a criterion's statistics / seconds of the passes that its formula needs
masks     seconds to make, apply and cost a mask, for 40 million weights
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from models import BEVFusionSmall, build
from models.lidar import sparse_conv  # noqa: F401  (quietens spconv's import before the timing)
from pruning.allocation import SparsityAllocation
from pruning.cost import profile
from pruning.criteria import SNIP, AlterMOMA, Criterion, Magnitude
from pruning.gradients import gradients
from pruning.groups import ModalityGroups
from pruning.mask import PruningMask
from pruning.weights import prunable_weights
from scenes.batch import SensorBatch
from scenes.loader import ImageSpec, Loader
from scenes.nuscenes import NuScenesScenes, NuScenesSpec
from scenes.procedural import make_scenes

REPEATS = 3


def main() -> None:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = make_scenes(
            Path(folder) / "data", num_scenes=1, frames=4, progress=False, val_every=9
        )
        spec = NuScenesSpec(root=str(root), version="v1.0-procedural", split="procedural_train")
        loader = Loader(NuScenesScenes(spec), ImageSpec(), None, 2, shuffle=False, seed=0)
        bench_scoring(list(loader))
    bench_masks()


def bench_scoring(batches: list[SensorBatch]) -> None:
    """Passes: SNIP B; AlterMOMA B for DeCI and, for each of two maskings, 2 B + 1 (D, training,
    D_B at the end).
    """
    model = build(BEVFusionSmall())
    groups = ModalityGroups.from_model(model)
    weights = prunable_weights(model)
    model.eval()
    one_pass = seconds(lambda: [gradients(model, weights, b, task_loss) for b in batches])
    one_pass /= len(batches)
    print(f"forward and backward pass: {one_pass:.2f} s a batch of 2 (bevfusion-small, 1 thread)")
    rounds: list[tuple[Criterion, int]] = [
        (Magnitude(), 0),
        (SNIP(), len(batches)),
        (AlterMOMA(), len(batches) + 2 * (2 * len(batches) + 1)),
    ]
    for criterion, passes in rounds:
        took = seconds(lambda c=criterion: c.statistics(model, groups, batches, task_loss))  # type: ignore[misc]
        ratio = f"{took / (passes * one_pass):.2f} x its {passes} passes" if passes else "no pass"
        print(f"{criterion.name:10s} statistics {took:6.2f} s = {ratio}")
    found = AlterMOMA().statistics(model, groups, batches, task_loss)
    took = seconds(lambda: AlterMOMA(beta=0.5).combine(found, groups))
    print(f"altermoma  another (alpha, beta): {took:.3f} s, no pass")


def bench_masks() -> None:
    model = nn.Sequential(*[nn.Linear(2048, 2048, bias=False) for _ in range(10)])
    groups = ModalityGroups({"all": tuple(str(i) for i in range(10))})
    uses = profile(model, [torch.zeros(1, 2048)], lambda m, b: m(b), groups)
    scores = Magnitude().scores(model, groups, [], task_loss)
    half = SparsityAllocation(per_modality={"all": 0.5})

    def mask_and_cost() -> None:
        mask = PruningMask.from_scores(scores, half, groups)
        mask.apply(model)
        uses.cost(mask)

    print(f"masks      42 M weights: mask, apply and cost in {seconds(mask_and_cost):.2f} s")


def task_loss(model: nn.Module, batch: SensorBatch) -> torch.Tensor:
    loss: torch.Tensor = model.loss(batch)  # type: ignore[operator]
    return loss


def seconds(work: Callable[[], object]) -> float:
    """Median over the repeats."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
