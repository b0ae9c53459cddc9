"""`make gpu-check`: everything that a GPU changes, on this machine's GPU, in one log of minutes.

CUDA against the CPU for every model of the catalogue and every criterion; trials in float32 and
bfloat16, with single weights and channels; four trials of the demo and two that share the GPU; the
published detector's forward pass and step by stage, in time and memory; the repair's cost there.
`python -m tests.fake_device.gpu_check` runs it on the stand-in, but for the sweeps: Ray's workers
have none.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn

from sparsefront.models import NAMES, BEVFusionSmall, FusionModel, build
from sparsefront.models.checkpoint import store
from sparsefront.models.recompute import recompute_backbone
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.criteria import AlterMOMA, Criterion, Fisher, Magnitude
from sparsefront.pruning.device import accelerator_name, wait_for
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.config.device import resolve_device
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.trial.run_trial import run_trial
from tests.helpers.catalogue import CRITERIA, MODELS, batches_for, smallest, without_a_score
from tests.helpers.tiny_sweep import TINY_MODEL, make_tiny_data

DEMO = "examples/demo.yaml"
FORWARD, RANKS = 1e-3, 0.999
"""Largest difference as a share of the largest value; least rank correlation of a group."""
STAGES = (
    "camera.backbone", "camera.neck", "camera.vtransform", "lidar.backbone", "fusion.fuser",
    "fusion.decoder", "fusion.heads.object",
)  # fmt: skip
failures: list[str] = []


def main() -> int:
    device = resolve_device("auto")
    if device == "cpu":
        print("gpu-check: torch can use no GPU here", file=sys.stderr)
        return 2
    torch.backends.cudnn.allow_tf32 = False
    print(f"device {device}: {accelerator_name(torch.device(device))}; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_data(Path(folder) / "tiny")
        for name in MODELS:
            with checked(f"model {name}"):
                compare_model(name, Path(folder) / "tiny", device)
    with checked("criteria on the demo's model"):
        compare_criteria(device)
    for what, change in trials().items():
        with checked(f"trial of the demo, {what}"):
            one_trial(change)
    with checked("mit_bevfusion-det at full size"):
        full_size(device)
    if device != "cuda":
        print("left out: sweeps, as Ray's workers have no stand-in")
    else:
        for line in ("--trials 4", "--trials 2 with two on the GPU"):
            with checked(f"sweep of the demo, {line}"):
                sweep(two_at_once="two" in line)
    print("\n".join(["", *(f"FAILED {line}" for line in failures)]) if failures else "\nall passed")
    return 1 if failures else 0


@contextmanager
def checked(what: str) -> Iterator[None]:
    """Says how long it took, and goes on with the next one where it fails."""
    started = time.perf_counter()
    try:
        yield
        print(f"ok     {what}, {time.perf_counter() - started:.1f} s", flush=True)
    except Exception as error:
        reason = f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        failures.append(reason)
        print(f"FAILED {reason}", flush=True)


def compare_model(name: str, root: Path, device: str) -> None:
    """Forward, a step in float32 and bfloat16, and channels."""
    torch.manual_seed(0)
    model: Any = build(smallest(name, TINY_MODEL)).eval()
    batch = batches_for(root, name, TINY_MODEL)[0]
    other, there = copy.deepcopy(model).to(device), batch.to(device)
    with torch.no_grad():
        apart = largest_difference(other(there), model(batch))
    assert apart <= FORWARD, f"outputs are {apart:.1e} apart"
    verify(other, there, channel_graph(other, there))
    other.train()
    for half in (False, True):
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=half):
            loss = other.loss(there)
        loss.backward()
        assert torch.isfinite(loss), f"loss {loss.item()} with bfloat16 {half}"


def largest_difference(found: Any, wanted: Any) -> float:
    parts = [
        (f.detach().cpu().double(), w.detach().cpu().double())
        for f, w in zip(found.values(), wanted.values(), strict=True)
        if w.is_floating_point() and w.numel()
    ]
    return max(float((f - w).abs().max()) / max(1.0, float(w.abs().max())) for f, w in parts)


def compare_criteria(device: str) -> None:
    """Rank correlation of the GPU's scores with the CPU's, in every group, on the demo's frames."""
    spec = read_sweep(DEMO).trial
    model = build(BEVFusionSmall())
    store.load_into(model, store.load(spec.checkpoint)[0], spec.checkpoint)
    batches = task_of(spec).scoring_batches(spec.seed, 2, "cpu")
    groups = ModalityGroups.from_model(model)
    other, there = copy.deepcopy(model).to(device), [batch.to(device) for batch in batches]
    lowest: dict[str, float] = {}
    for criterion in CRITERIA:
        if without_a_score(criterion, "bevfusion-small"):
            continue
        wanted = criterion.scores(model, groups, batches, task_of(spec).loss).by_weight
        found = criterion.scores(other, groups, there, task_of(spec).loss).by_weight
        lowest[label(criterion)] = min(
            float(spearmanr(flat(found, names), flat(wanted, names))[0])
            for names in groups.assign(wanted).values()
        )
    print(" ".join(f"{name} {rank:.5f}" for name, rank in lowest.items()))
    low = {name: rank for name, rank in lowest.items() if not rank > RANKS}
    assert not low, f"rank correlation below {RANKS}: {low}"


def label(criterion: Criterion) -> str:
    return criterion.name + (", structured" if getattr(criterion, "structured", False) else "")


def flat(scores: Any, names: Any) -> Any:
    return torch.cat([scores[name].detach().cpu().flatten() for name in names])[::7].numpy()


def trials() -> dict[str, dict[str, Any]]:
    half = SparsityAllocation(per_modality={"camera": 0.8, "lidar": 0.5, "fusion": 0.8})
    return {
        "fisher": {"criterion": Fisher(), "allocation": half, "least": 0.6},
        "altermoma": {"criterion": AlterMOMA(), "allocation": half, "least": 0.4},
        "bfloat16": {"allocation": half, "precision": "bfloat16", "least": 0.6},
        "channels": {
            "allocation": SparsityAllocation(overall=0.2, pattern="channel"), "least": 0.1,
        },
    }  # fmt: skip


def one_trial(change: dict[str, Any]) -> None:
    """least: the mAP that it has on a CPU, less room; LiDAR scores of zero leave 0.14."""
    least = change.pop("least")
    spec = read_sweep(DEMO).trial
    tuned = replace(spec.fine_tune, precision=change.pop("precision", "float32"))
    result = run_trial(replace(spec, fine_tune=tuned, **change)).result
    seconds = " ".join(f"{k} {v:.1f}" for k, v in result.timings.items())
    found = result.metrics
    print(f"       mAP {found['mAP']:.4f} at {found['GFLOPs']:.2f} GFLOPs; {seconds}")
    assert found["mAP"] > least, f"mAP below {least}"


def full_size(device: str) -> None:
    """Milliseconds forward and backward, and the most memory, by stage; then the repair."""
    torch.manual_seed(0)
    model: Any = build(NAMES["mit_bevfusion-det"]()).to(device).train()
    batch = synthetic_frame(ImageSpec(height=256, width=704)).to(device)
    kept: dict[str, Any] = {}
    handles = [
        model.get_submodule(s).register_forward_hook(lambda m, i, o, s=s: kept.update({s: i}))
        for s in STAGES
    ]
    model(batch)
    for handle in handles:
        handle.remove()
    print("| stage | forward ms | backward ms | most MiB |\n|---|---|---|---|")
    for stage in STAGES:
        inputs = tuple(map(detached, kept[stage]))
        print(row(stage, device, partial(total_of, model.get_submodule(stage), inputs)))
    kept.clear()
    for again in (False, True):
        if again:
            recompute_backbone(model)
        what = "whole step, backbone recomputed" if again else "whole step"
        print(row(what, device, lambda: model.loss(batch)))
    repair(model.eval(), batch, device)


def row(name: str, device: str, forward: Callable[[], Any]) -> str:
    memory, where = torch.get_device_module(device), torch.device(device)
    best = [float("inf"), float("inf")]
    for _ in range(4 if device == "cuda" else 1):  # the first one warms up
        memory.reset_peak_memory_stats()
        wait_for(where)
        started = time.perf_counter()
        loss = forward()
        wait_for(where)
        middle = time.perf_counter()
        loss.backward()
        wait_for(where)
        spent = (middle - started, time.perf_counter() - middle)
        best = [min(a, b) for a, b in zip(best, spent, strict=True)]
        del loss
    most = memory.max_memory_allocated() / 2**20
    return f"| {name} | {1000 * best[0]:.1f} | {1000 * best[1]:.1f} | {most:.0f} |"


def detached(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().requires_grad_()
    return [detached(v) for v in value] if isinstance(value, list) else value


def total_of(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    return total(module(*inputs))


def total(out: Any) -> Any:
    if isinstance(out, torch.Tensor):
        return out.sum()
    values = out.values() if isinstance(out, dict) else out
    return sum(total(v) for v in values if not torch.is_tensor(v) or v.requires_grad)


def repair(model: FusionModel, batch: Any, device: str) -> None:
    where = torch.device(device)
    started = time.perf_counter()
    with torch.no_grad():
        model(batch)
    wait_for(where)
    forward = time.perf_counter() - started
    started = time.perf_counter()
    moments = second_moments(model, [batch])
    wait_for(where)
    collected = time.perf_counter() - started
    groups = ModalityGroups.from_model(model)
    scores = Magnitude().scores(model, groups, [], lambda m, b: m.loss(b))
    mask = PruningMask.from_scores(scores, SparsityAllocation(overall=0.8), groups, model)
    started = time.perf_counter()
    report = refit_least_squares(model, mask, moments, 0.01)
    wait_for(where)
    print(
        f"       repair at 80 %: statistics {collected:.2f} s for a frame (forward {forward:.2f}), "
        f"refit {time.perf_counter() - started:.2f} s of {len(report.layers)} layers"
    )


def sweep(*, two_at_once: bool) -> None:
    """The demo's sweep as a process of its own."""
    import yaml

    data = yaml.safe_load(Path(DEMO).read_text())
    data.update(workers=2 if two_at_once else 1, gpus_per_trial=0.5 if two_at_once else 1)
    data["trials"] = 2 if two_at_once else 4
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(yaml.safe_dump(data))
        command = [sys.executable, "-m", "sparsefront.search.cli.main", "sweep", str(file)]
        done = subprocess.run(
            [*command, "--name", "gpu-check", "--runs", f"{folder}/runs"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-500:]


if __name__ == "__main__":
    sys.exit(main())
