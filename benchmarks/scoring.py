"""Scoring: seconds of a criterion / seconds of the passes that its formula needs, in one run; and
peak memory beyond one training step, in units of the model's weights.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.timing import seconds
from sparsefront.models import BEVFusionSmall, build
from sparsefront.pruning.criteria import (
    IMP,
    LAMP,
    SNIP,
    AlterMOMA,
    Criterion,
    GraSP,
    Magnitude,
    ProsPr,
    SynFlow,
    Taylor,
)
from sparsefront.pruning.criteria.synflow import all_ones, output_sum, positive_copy
from sparsefront.pruning.gradients import gradients
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.sparse_autograd import plain_sparse_layers
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec
from sparsefront.scenes.procedural import make_scenes

CRITERIA: dict[str, Criterion] = {
    "magnitude": Magnitude(),
    "lamp": LAMP(),
    "snip": SNIP(),
    "taylor": Taylor(),
    "grasp": GraSP(),
    "prospr": ProsPr(num_steps=2, lr=1e-3),
    "synflow": SynFlow(num_iterations=3),
    "imp": IMP(rate=0.5, sparsity=0.75, steps=2),
    "altermoma": AlterMOMA(),
}
WIDTH, DEPTH = 1024, 20


def speed() -> None:
    """Passes by formula, B = 2 batches: SNIP and Taylor B; AlterMOMA B for DeCI and 2 B + 1 for
    each of two maskings; IMP rounds x steps. GraSP: B, and B through which a second derivative
    goes; ProsPr: T of these and one more; SynFlow: float64 passes of the positive model on ones.
    """
    batches = real_batches()
    model = build(BEVFusionSmall()).eval()
    groups = ModalityGroups.from_model(model)
    weights = prunable_weights(model)
    count = len(batches)
    once = seconds(lambda: gradients(model, weights, batches[0], task_loss))
    plain, twice = plain_passes(model, weights, batches[0])
    double = double_pass(model, batches[0])
    print(f"forward and backward pass: {once:.2f} s a batch of 2 (bevfusion-small, 1 thread)")
    print(
        f"  through plain gather and scatter {plain:.2f} s, with a second derivative {twice:.2f} s"
    )
    needed = {
        "magnitude": 0.0,
        "lamp": 0.0,
        "snip": count * once,
        "taylor": count * once,
        "grasp": count * (plain + twice),
        "prospr": 2 * twice + plain,
        "synflow": 3 * double,
        "imp": 4 * once,
        "altermoma": (count + 2 * (2 * count + 1)) * once,
    }
    for name, criterion in CRITERIA.items():
        took = seconds(lambda c=criterion: c.statistics(model, groups, batches, task_loss))  # type: ignore[misc]
        ratio = f"{took / needed[name]:.2f} x its passes" if needed[name] else "no pass"
        print(f"{name:10s} {took:6.2f} s = {ratio}")
    found = AlterMOMA().statistics(model, groups, batches, task_loss)
    took = seconds(lambda: AlterMOMA(beta=0.5).combine(found, groups))
    print(f"altermoma  another (alpha, beta): {took:.3f} s, no pass")


def plain_passes(
    model: nn.Module, weights: dict[str, nn.Parameter], batch: SensorBatch
) -> tuple[float, float]:
    """Seconds of a pass on plain sparse layers, and of one with a backward through it."""

    def through() -> None:
        value = task_loss(model, batch)
        slopes = torch.autograd.grad(
            value, list(weights.values()), create_graph=True, allow_unused=True
        )
        total = torch.stack([s.sum() for s in slopes if s is not None]).sum()
        torch.autograd.grad(total, list(weights.values()), allow_unused=True)

    with scoring_mode(model, weights), plain_sparse_layers(model):
        once = seconds(lambda: gradients(model, weights, batch, task_loss))
        return once, seconds(through)


def double_pass(model: nn.Module, batch: SensorBatch) -> float:
    """Seconds of a float64 pass of the positive model on ones."""
    positive, ones = positive_copy(model), all_ones(batch)
    weights = list(prunable_weights(positive).values())

    def through() -> None:
        torch.autograd.grad(output_sum(positive(ones)), weights, allow_unused=True)

    with plain_sparse_layers(positive):
        return seconds(through)


def real_batches() -> list[SensorBatch]:
    with TemporaryDirectory() as folder:
        root = make_scenes(
            Path(folder) / "data", num_scenes=1, frames=4, progress=False, val_every=9
        )
        spec = NuScenesSpec(root=str(root), version="v1.0-procedural", split="procedural_train")
        loader = Loader(NuScenesScenes(spec), ImageSpec(), None, 2, shuffle=False, seed=0)
        return list(loader)


def memory() -> None:
    """Each in a process of its own: peak resident memory beyond one Adam training step."""
    weights = 4 * DEPTH * WIDTH**2
    base = _peak("step")
    print(f"peak memory beyond one training step, x the weights ({weights / 1e6:.0f} MB):")
    for name in CRITERIA:
        print(f"  {name:10s} {(_peak(name) - base) / weights:5.2f}")


def peak_of(what: str) -> int:
    """Runs in the child: bytes at most resident while scoring, or in one training step."""
    torch.set_num_threads(1)
    model = Branches()
    batches = [torch.randn(4, WIDTH) for _ in range(2)]
    if what == "step":
        optimizer = torch.optim.Adam(model.parameters())
        stacked_loss(model, batches[0]).backward()
        optimizer.step()
    else:
        groups = ModalityGroups.from_model(model)
        CRITERIA[what].statistics(model, groups, batches, stacked_loss)
    status = Path("/proc/self/status").read_text()  # rusage would tell the parent's peak too
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


class Branches(nn.Module):
    """Two stacks of wide layers, and one layer on their sum."""

    def __init__(self) -> None:
        super().__init__()
        half = DEPTH // 2
        self.camera, self.lidar, self.fusion = stack(half), stack(half), stack(1)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.fusion(self.camera(batch) + self.lidar(batch))
        return out


def stack(depth: int) -> nn.Module:
    return nn.Sequential(*[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth)])


def stacked_loss(model: Any, batch: Tensor) -> Tensor:
    value: Tensor = model(batch).square().mean()
    return value


def task_loss(model: Any, batch: SensorBatch) -> Tensor:
    loss: Tensor = model.loss(batch)
    return loss


def _peak(what: str) -> int:
    code = f"from benchmarks.scoring import peak_of; print(peak_of({what!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)
