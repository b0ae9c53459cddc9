"""Searched allocations against the papers' own, at equal GFLOPs (docs/benchmarks.md).

The study's model, data and fine-tuning (benchmarks/study.py). One sweep over the sparsities of all
stages, as a user would run it, up to the GFLOPs that matter here; of its front, the trial of the
best mAP within the GFLOPs that CrossPrune keeps under its own global threshold at 80, 85 and 90 %
is fine-tuned again with three seeds that the sweep did not see.

`python -m benchmarks.found_allocations DATA_FOLDER --out RUNS` goes on with what is there; measured
ones are also in benchmarks/results/found_allocations.jsonl.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.study import CHECKPOINT, DATA, spec_of
from sparsefront.pruning.criteria import Magnitude
from sparsefront.search.config.grouping import expanded
from sparsefront.search.config.objectives import Bound
from sparsefront.search.config.space import Range
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.driver.sweep import resume_sweep, run_sweep
from sparsefront.search.runs.front import ParetoFront, load_front
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.trial.run_trial import run_trial

TARGETS = {0.8: 1.23, 0.85: 0.96, 0.9: 0.66}
"""Sparsity of the papers -> GFLOPs that CrossPrune keeps there (docs/replication.md)."""
NAME, TRIALS, MOST_GFLOPS = "found", 24, 1.3
SWEEP_SEED, SEEDS = 0, (1, 2, 3)
MOST = 0.98
SHOWN = ("mAP", "NDS", "GFLOPs", "sparsity")
RESULTS = Path(__file__).parent / "results" / "found_allocations.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.found_allocations", description=__doc__
    )
    parser.add_argument("data", help="folder that `make demo-data` makes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sweep")
    options = parser.parse_args()
    front = searched(sweep_over_stages(options.data), options.out)
    found = {level: best_within(front, most) for level, most in TARGETS.items()}
    done = [(r["level"], r["seed"], r["allocation"]) for r in read()]
    todo = [
        (level, spec, seed)
        for level, spec in found.items()
        for seed in SEEDS
        if (level, seed, spec.allocation.per_stage) not in done
    ]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(measured, *zip(*todo, strict=True)) if todo else []:
            write(row)
    print(table({level: spec.allocation.per_stage for level, spec in found.items()}))


def sweep_over_stages(root: str) -> Sweep:
    spec = spec_of(Magnitude(), SWEEP_SEED)
    data = replace(DATA, root=root)
    spec = replace(
        spec, checkpoint=CHECKPOINT, train=data, val=replace(data, split="procedural_val")
    )
    return Sweep(
        name=NAME, trial=spec, objectives=["mAP", "GFLOPs"], sampler="predicted",
        space=expanded({"allocation.per_stage.*": Range(low=0.0, high=MOST)}, spec),
        constraints={"GFLOPs": Bound(max=MOST_GFLOPS)}, trials=TRIALS, workers=2,
    )  # fmt: skip


def searched(sweep: Sweep, runs: Path) -> ParetoFront:
    run = RunFolder(runs=runs, name=NAME)
    if run.exists():
        resume_sweep(NAME, runs)
    else:
        run_sweep(sweep, name=NAME, runs=runs)
    return load_front(NAME, runs)


def best_within(front: ParetoFront, most: float) -> TrialSpec:
    """The trial of the best mAP that costs no more GFLOPs."""
    within = [point for point in front.points if point.result.metrics["GFLOPs"] <= most]
    best = max(within, key=lambda point: point.result.metrics["mAP"])
    found = best.result.metrics
    print(
        f"within {most} GFLOPs: trial {best.trial_id}, {found['GFLOPs']:.3f} GFLOPs, "
        f"{found['mAP']:.4f} mAP", flush=True,
    )  # fmt: skip
    return best.spec


def measured(level: float, spec: TrialSpec, seed: int) -> dict[str, Any]:
    """The allocation, fine-tuned with another seed."""
    metrics = run_trial(replace(spec, seed=seed)).result.metrics
    shown = {name: metrics[name] for name in SHOWN}
    return {"level": level, "seed": seed, **shown, "allocation": spec.allocation.per_stage}


def read() -> list[dict[str, Any]]:
    if not RESULTS.is_file():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def write(row: dict[str, Any]) -> None:
    with open(RESULTS, "a") as file:
        file.write(json.dumps(row) + "\n")


def table(found: dict[float, dict[str, float]]) -> str:
    lines = ["| | mAP | NDS | GFLOPs | weights removed |", "|---|---|---|---|---|"]
    for level in TARGETS:
        of = [r for r in read() if (r["level"], r["allocation"]) == (level, found[level])]
        mean = {k: statistics.mean(r[k] for r in of) for k in SHOWN}
        spread = statistics.pstdev([r["mAP"] for r in of])
        lines.append(
            f"| as CrossPrune at {level:.0%} | {100 * mean['mAP']:.1f} ± {100 * spread:.1f} "
            f"| {100 * mean['NDS']:.1f} | {mean['GFLOPs']:.2f} | {mean['sparsity']:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
