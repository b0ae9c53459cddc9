"""`python -m benchmarks.full_size FRAME.npz`: the published detector on one frame, stage by stage.

Forward and backward seconds of each stage on its own recorded inputs, then one whole training step,
and the process's peak memory. FRAME.npz as `sparsefront model trace` reads it.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.models import NAMES, build
from sparsefront.models.trace import read_inputs

STAGES = (
    "camera.backbone", "camera.neck", "camera.vtransform", "lidar.backbone", "fusion.fuser",
    "fusion.decoder", "fusion.heads.object",
)  # fmt: skip


def main(path: str, name: str = "mit_bevfusion-det") -> None:
    torch.manual_seed(0)
    model = build(NAMES[name]()).train()
    batch = read_inputs(path)
    entered: dict[str, Any] = {}
    stages = {stage: model.get_submodule(stage) for stage in STAGES}
    handles = [
        module.register_forward_hook(_keep(entered, stage)) for stage, module in stages.items()
    ]
    model(batch)
    for handle in handles:
        handle.remove()
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| stage | forward s | backward s |\n|---|---|---|")
    for stage, module in stages.items():
        forward, backward = timed(module, entered[stage])
        print(f"| {stage} | {forward:.2f} | {backward:.2f} |", flush=True)
    model.zero_grad(set_to_none=True)
    entered.clear()
    started = time.perf_counter()
    loss = model.loss(batch)
    middle = time.perf_counter()
    loss.backward()
    ended = time.perf_counter()
    print(f"| whole, with the loss | {middle - started:.2f} | {ended - middle:.2f} |")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def timed(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[float, float]:
    fresh = tuple(detached(value) for value in inputs)
    started = time.perf_counter()
    out = module(*fresh)
    middle = time.perf_counter()
    total = sum(t.sum() for t in tensors(out) if t.requires_grad)
    total.backward()
    return middle - started, time.perf_counter() - middle


def detached(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().requires_grad_()
    return [detached(v) for v in value] if isinstance(value, list) else value


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [t for v in values for t in tensors(v)]


def _keep(entered: dict[str, Any], stage: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        entered[stage] = inputs

    return hook


if __name__ == "__main__":
    main(*sys.argv[1:])
