"""Searched allocations against the papers' own, at equal GFLOPs (docs/benchmarks.md).

The study's model, data and fine-tuning (benchmarks/study.py). For the GFLOPs that CrossPrune
reaches under its own global threshold at 80, 85 and 90 % there is one sweep each, over the
sparsities of all stages, that may cost no more; its best by mAP is fine-tuned with all three seeds.
`python -m benchmarks.found_allocations DATA_FOLDER --out RUNS` goes on with what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.study import CHECKPOINT, DATA, SEEDS, spec_of
from pruning.criteria import Magnitude
from search.front import load_front
from search.objectives import Bound
from search.runs.run_store import RunFolder
from search.space import Range
from search.sweep import resume_sweep, run_sweep
from search.sweep_file import Sweep
from search.trials.grouping import expanded
from search.trials.spec import TrialSpec
from search.trials.trial import run_trial

TARGETS = {0.9: 0.66, 0.85: 0.96, 0.8: 1.23}
"""Sparsity of the papers -> GFLOPs that CrossPrune keeps there (docs/replication.md)."""
TRIALS = 8
MOST = 0.98
SHOWN = ("mAP", "NDS", "GFLOPs", "sparsity")
RESULTS = Path(__file__).parent / "results" / "found_allocations.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder that `make demo-data` makes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sweeps")
    options = parser.parse_args()
    for level, most in TARGETS.items():
        done = [r["seed"] for r in read() if r["level"] == level]
        best = searched(sweep_within(most, options.data), f"within-{most}", options.out)
        for seed in SEEDS:
            if seed not in done:
                spec = replace(best, seed=seed)
                result = run_trial(spec).result
                shown = {name: result.metrics[name] for name in SHOWN}
                stages = spec.allocation.per_stage
                write({"level": level, "seed": seed, **shown, "allocation": stages})
    print(table())


def sweep_within(most: float, root: str) -> Sweep:
    """Over the sparsities of stages, at no more than so many GFLOPs."""
    spec = spec_of(Magnitude(), SEEDS[0])
    data = replace(DATA, root=root)
    spec = replace(
        spec, checkpoint=CHECKPOINT, train=data, val=replace(data, split="procedural_val"),
        allocation=replace(spec.allocation, overall=0.0),
    )  # fmt: skip
    return Sweep(
        name="found", trial=spec, objectives=["mAP", "GFLOPs"], sampler="predicted",
        space=expanded({"allocation.per_stage.*": Range(low=0.0, high=MOST)}, spec.model),
        constraints={"GFLOPs": Bound(max=most)}, trials=TRIALS, workers=2,
    )  # fmt: skip


def searched(sweep: Sweep, name: str, out: Path) -> TrialSpec:
    """The trial of the best mAP on the sweep's front."""
    run = RunFolder(out=out, name=name)
    if run.exists():
        resume_sweep(name, out)
    else:
        run_sweep(sweep, name=name, out=out, address=None, trials=None)
    best = max(load_front(name, out).points, key=lambda point: point.result.metrics["mAP"])
    print(f"{name}: trial {best.trial_id}, {best.result.metrics['mAP']:.4f} mAP", flush=True)
    return best.spec


def read() -> list[dict[str, Any]]:
    if not RESULTS.is_file():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def write(record: dict[str, Any]) -> None:
    with open(RESULTS, "a") as file:
        file.write(json.dumps(record) + "\n")
    print(record, flush=True)


def table() -> str:
    lines = ["| | mAP | NDS | GFLOPs | weights removed |", "|---|---|---|---|---|"]
    rows = read()
    for level in TARGETS:
        of = [r for r in rows if r["level"] == level]
        if of:
            mean = {k: statistics.mean(r[k] for r in of) for k in SHOWN}
            spread = statistics.pstdev([r["mAP"] for r in of])
            lines.append(
                f"| as CrossPrune at {level:.0%} | {100 * mean['mAP']:.1f} ± {100 * spread:.1f} "
                f"| {100 * mean['NDS']:.1f} | {mean['GFLOPs']:.2f} | {mean['sparsity']:.1%} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
