"""Searched allocations against the papers' own, at equal GFLOPs (docs/benchmarks.md).

The study's model, data and fine-tuning (benchmarks/study.py). At the GFLOPs that CrossPrune reaches
under its own global threshold at 80, 85 and 90 %, a few trials look for the allocation of stages:
the predicted front at that cost, recalibrated after each. The best by mAP is measured with three
seeds. `python -m benchmarks.found_allocations DATA_FOLDER` appends to
benchmarks/results/found_allocations.jsonl; what is there is not repeated.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import CHECKPOINT, DATA, SEEDS, spec_of
from pruning.criteria import Magnitude
from search.proposals.predicted import prediction_of
from search.proposals.prediction import Prediction
from search.proposals.recalibration import recalibrated
from search.space import Range, with_values
from search.sweep_file import Sweep
from search.trials.shared import Shared, prepare
from search.trials.spec import TrialSpec
from search.trials.trial import run_trial

TARGETS = {0.9: 0.66, 0.85: 0.96, 0.8: 1.23}
"""Sparsity of the papers -> GFLOPs that CrossPrune keeps there (docs/replication.md)."""
LOOKS = 3
MOST = 0.98
SHOWN = ("mAP", "NDS", "GFLOPs", "sparsity")
RESULTS = Path(__file__).parent / "results" / "found_allocations.jsonl"


def main() -> None:
    root = sys.argv[1]
    done = {(r["level"], r["seed"]) for r in read() if r["kind"] == "measured"}
    levels = [level for level in TARGETS if not {(level, s) for s in SEEDS} <= done]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(one_level, level, root) for level in levels]:
            future.result()
    print(table())


def one_level(level: float, root: str) -> None:
    """Searches at one cost with the first seed, then measures the best with all."""
    sweep = sweep_over_stages(spec_of(Magnitude(), SEEDS[0]), root)
    shared = prepare(sweep.trial)
    prediction = prediction_of(sweep, shared)
    share = share_saved(prediction, TARGETS[level])
    tried: list[dict[str, float]] = []
    found: list[float] = []
    for number in range(LOOKS):
        allocation = proposal(prediction, share, tried, found, np.random.default_rng(number))
        metrics = measured(sweep.trial, allocation, shared)
        write({"kind": "search", "level": level, "trial": number, **metrics})
        tried.append(allocation)
        found.append(metrics["mAP"])
    best = tried[int(np.argmax(found))]
    for seed in SEEDS:
        spec = at_root(spec_of(Magnitude(), seed), root)
        metrics = measured(spec, best, Shared(state=shared.state, profiles=shared.profiles))
        write({"kind": "measured", "level": level, "seed": seed, **metrics, "allocation": best})


def sweep_over_stages(spec: TrialSpec, root: str) -> Sweep:
    from search.trials.grouping import expanded

    spec = at_root(spec, root)
    stages = expanded({"allocation.per_stage.*": Range(low=0.0, high=MOST)}, spec)
    objectives: Any = ["mAP", "GFLOPs"]
    return Sweep(name="found", trial=spec, space=stages, objectives=objectives, sampler="predicted")


def at_root(spec: TrialSpec, root: str) -> TrialSpec:
    data = replace(DATA, root=root)
    empty = replace(spec.allocation, overall=0.0)
    return replace(
        spec, checkpoint=CHECKPOINT, train=data, val=replace(data, split="procedural_val"),
        allocation=empty,
    )  # fmt: skip


def share_saved(prediction: Prediction, target: float) -> float:
    """Where on the front the GFLOPs are those of the target."""
    saved = (prediction.dense - target) / prediction.unit
    front = prediction.front()
    return float((saved - front.saved[0]) / (front.saved[-1] - front.saved[0]))


def proposal(
    prediction: Prediction,
    share: float,
    tried: list[dict[str, float]],
    found: list[float],
    random: np.random.Generator,
) -> dict[str, float]:
    """The allocation at this cost on a front drawn from the posterior; first that of its mean."""
    seen, lost = prediction.losses(tried), prediction.shares_lost("mAP", found)
    model = recalibrated(seen, lost, len(prediction.curves))
    curve = model.drawn(random, 0.3) if tried else model.best
    tilt = dict(zip(prediction.curves, curve.tilts.tolist(), strict=True))
    return prediction.front(tilt).at(share)


def measured(spec: TrialSpec, allocation: dict[str, float], shared: Shared) -> dict[str, float]:
    result = run_trial(with_values(spec, allocation), shared).result
    return {name: result.metrics[name] for name in SHOWN}


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
    rows = [r for r in read() if r["kind"] == "measured"]
    for level in TARGETS:
        of = [r for r in rows if r["level"] == level]
        if of:
            mean = {
                k: statistics.mean(r[k] for r in of) for k in ("mAP", "NDS", "GFLOPs", "sparsity")
            }
            spread = statistics.pstdev([r["mAP"] for r in of])
            lines.append(
                f"| as CrossPrune at {level:.0%} | {100 * mean['mAP']:.1f} ± {100 * spread:.1f} "
                f"| {100 * mean['NDS']:.1f} | {mean['GFLOPs']:.2f} | {mean['sparsity']:.1%} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
