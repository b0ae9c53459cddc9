"""`make study`: the papers' methods side by side on the procedural scenes (docs/replication.md).

From one dense checkpoint whose branches were trained apart, with one budget of fine-tuning and
three seeds: unstructured at 80, 85 and 90 % and channels at 30 and 50 % less FLOPs, once with the
kept weights as they were and once refitted; refitted, AlterMOMA's beta / alpha curve and, with one
seed, what its paper leaves open. From a second checkpoint, trained for longer, which loses little
at 80 %: the two papers' methods again. Norm statistics are measured again for all. All methods
prune under their papers' own global threshold. Finished runs are kept in study/results.jsonl and
not repeated; tables go to stdout. STUDY_WORKERS: processes, 2.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparsefront.models import BEVFusionSmall
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.criteria import IMP, SNIP, AlterMOMA, Criterion, Magnitude, ProsPr, SynFlow
from sparsefront.pruning.crossprune import CrossPrune
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.repair.options import Repair
from sparsefront.scenes.loader import ImageSpec
from sparsefront.scenes.nuscenes import NuScenesSpec
from sparsefront.search.config.trial_spec import FineTuneSpec, TrialSpec
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.pruned_model import find_mask
from sparsefront.search.trial.run_trial import run_trial
from sparsefront.search.trial.shared import Shared, cost_key, dense_model, prepare

CHECKPOINT = "examples/checkpoints/study.safetensors"
LONGER = "examples/checkpoints/study_longer.safetensors"
DATA = NuScenesSpec(
    root="demo-data/procedural", version="v1.0-procedural", split="procedural_train", num_sweeps=1
)
RESULTS = Path("study/results.jsonl")
SEEDS = (0, 1, 2)
SPARSITIES = (0.8, 0.85, 0.9)
BETAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
FLOPS_CUTS = (0.3, 0.5)
BUDGET = FineTuneSpec(steps=40, batch_size=4, lr=4e-4, warmup=4)
REPAIRS = {"": Repair(method="none"), ", refitted": Repair()}
"""After a table's name: what is done to the kept weights."""


@dataclass(frozen=True)
class Run:
    """One cell of a table and one seed. `cut` is the share of FLOPs to remove, for channels."""

    table: str
    method: str
    level: float
    seed: int
    spec: TrialSpec
    cut: float | None = None

    @property
    def key(self) -> str:
        return f"{self.table}/{self.method}/{self.level:g}/{self.seed}"


def main() -> None:
    done = read_results()
    todo = [run for run in all_runs() if run.key not in done]
    jobs = [(key, list(runs)) for key, runs in by_statistics(todo).items()]
    RESULTS.parent.mkdir(exist_ok=True)
    workers = int(os.environ.get("STUDY_WORKERS", "2"))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for future in as_completed([pool.submit(run_together, runs) for _, runs in jobs]):
            future.result()
    print(tables(read_results()))


def all_runs() -> list[Run]:
    runs = dense_runs("dense", CHECKPOINT) + dense_runs("dense, longer", LONGER)
    runs += with_repairs(from_longer(unstructured("longer", papers_methods)))
    runs += with_repairs(unstructured("unstructured", methods))
    runs += with_repairs(channels())
    runs += [refit(run) for run in beta_curve() + left_open()]
    return runs


def dense_runs(table: str, checkpoint: str) -> list[Run]:
    runs = [Run(table, "fine-tuned", 0.0, s, spec_of(Magnitude(), s)) for s in SEEDS]
    untouched = replace(runs[0].spec, fine_tune=replace(BUDGET, steps=0))
    runs.append(replace(runs[0], method="as it is", spec=untouched))
    return [replace(run, spec=replace(run.spec, checkpoint=checkpoint)) for run in runs]


def with_repairs(runs: list[Run]) -> list[Run]:
    """CrossPrune's rounds adapt the kept weights themselves: trials do not refit them."""
    return [
        replace(run, table=run.table + suffix, spec=replace(run.spec, repair=repair))
        for suffix, repair in REPAIRS.items()
        for run in runs
        if repair.method == "none" or run.method != "CrossPrune"
    ]


def refit(run: Run) -> Run:
    return replace(run, spec=replace(run.spec, repair=Repair()))


def from_longer(runs: list[Run]) -> list[Run]:
    return [replace(run, spec=replace(run.spec, checkpoint=LONGER)) for run in runs]


def unstructured(table: str, methods: Callable[[float], Mapping[str, Criterion]]) -> list[Run]:
    runs = []
    for seed in SEEDS:
        for level in SPARSITIES:
            for method, criterion in methods(level).items():
                spec = spec_of(criterion, seed, SparsityAllocation(overall=level))
                if method == "CrossPrune":
                    spec = replace(spec, cross_prune=CrossPrune())
                runs.append(Run(table, method, level, seed, spec))
    return runs


def beta_curve() -> list[Run]:
    allocation = SparsityAllocation(overall=0.8)
    return [
        Run("beta", "AlterMOMA", beta, seed, spec_of(AlterMOMA(beta=beta), seed, allocation))
        for seed in SEEDS
        for beta in BETAS
    ]


def channels() -> list[Run]:
    allocation = SparsityAllocation(pattern="channel")
    return [
        Run("channels", method, cut, seed, spec_of(criterion, seed, allocation), cut)
        for seed in SEEDS
        for cut in FLOPS_CUTS
        for method, criterion in channel_methods().items()
    ]


def left_open() -> list[Run]:
    return [Run("variants", method, 0.8, 0, spec) for method, spec in variants().items()]


def variants() -> dict[str, TrialSpec]:
    """AlterMOMA at 80 %, alpha = beta, with what its paper does not say set otherwise."""
    allocation = SparsityAllocation(overall=0.8)
    return {
        "one batch": spec_of(AlterMOMA(num_batches=1), 0, allocation),
        "16 batches": replace(spec_of(AlterMOMA(), 0, allocation), score_batches=16),
        "D the first batch": spec_of(AlterMOMA(data="first"), 0, allocation),
        "ten times the learning rate": spec_of(AlterMOMA(lr=1e-3), 0, allocation),
        "last gradient before the update": spec_of(
            AlterMOMA(last_gradient="before"), 0, allocation
        ),
        "prunable weights alone move": spec_of(AlterMOMA(masked="weights"), 0, allocation),
    }


def methods(sparsity: float) -> dict[str, Criterion]:
    """CrossPrune is ADMM, warm-started by magnitude. SynFlow takes 20 iterations, not 100."""
    return {
        "IMP": IMP(sparsity=sparsity),
        "SynFlow": SynFlow(num_iterations=20, sparsity=sparsity),
        "SNIP": SNIP(),
        "ProsPr": ProsPr(num_steps=3, lr=1e-3),
        "magnitude": Magnitude(),
        "AlterMOMA": AlterMOMA(),
        "CrossPrune": Magnitude(),
    }


def papers_methods(sparsity: float) -> dict[str, Criterion]:
    """AlterMOMA as it is, by its DeCI alone, and with redundancy measured by masking."""
    return {
        "magnitude": Magnitude(),
        "CrossPrune": Magnitude(),
        "AlterMOMA": AlterMOMA(),
        "AlterMOMA, DeCI alone": AlterMOMA(beta=0.0),
        "AlterMOMA, by masking": AlterMOMA(redundancy="masking"),
    }


def channel_methods() -> dict[str, Criterion]:
    return {
        "IMP": IMP(sparsity=0.5),
        "ProsPr": ProsPr(num_steps=3, lr=1e-3, structured=True),
        "magnitude": Magnitude(),
        "AlterMOMA": AlterMOMA(structured=True),
    }


def spec_of(
    criterion: Criterion, seed: int, allocation: SparsityAllocation | None = None
) -> TrialSpec:
    return TrialSpec(
        model=BEVFusionSmall(),
        checkpoint=CHECKPOINT,
        train=DATA,
        val=replace(DATA, split="procedural_val"),
        image=ImageSpec(height=96, width=256),
        criterion=criterion,
        allocation=allocation or SparsityAllocation(),
        score_batches=4,
        fine_tune=BUDGET,
        cost_frames=2,
        seed=seed,
        device="cpu",
    )


def by_statistics(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs that share criterion statistics go to one worker, which computes them once."""
    found = defaultdict(list)
    for run in runs:
        found[score_cache.key_of(run.spec)].append(run)
    return found


def run_together(runs: list[Run]) -> None:
    """Runs them in turn; each result is written when it is there."""
    shared = Shared()
    for run in runs:
        spec = run.spec
        shared = prepare(spec, shared)
        if run.cut is not None:
            spec = replace(spec, allocation=allocation_of_cut(spec, shared, run.cut))
        result = run_trial(spec, shared).result
        row = {
            "key": run.key, "table": run.table, "method": run.method, "level": run.level,
            "seed": run.seed, "overall": spec.allocation.overall, **result.metrics,
            "by_modality": result.per_modality_sparsity, "timings": result.timings,
        }  # fmt: skip
        with open(RESULTS, "a") as out:
            out.write(json.dumps(row) + "\n")
        print(f"{run.key}: mAP {row['mAP']:.4f}", file=sys.stderr, flush=True)


def allocation_of_cut(spec: TrialSpec, shared: Shared, cut: float) -> SparsityAllocation:
    """The overall share of channels whose removal leaves 1 - cut of the MACs, by bisection."""
    low, high = 0.0, 0.95
    allocation = spec.allocation
    for _ in range(12):
        middle = (low + high) / 2
        allocation = replace(spec.allocation, overall=middle)
        if _left(replace(spec, allocation=allocation), shared) > 1 - cut:
            low = middle
        else:
            high = middle
    return allocation


def _left(spec: TrialSpec, shared: Shared) -> float:
    model = dense_model(spec, shared)
    groups = ModalityGroups.from_model(model)
    mask, _ = find_mask(spec, shared, model, groups, "cpu")
    mask.apply(model)
    cost = shared.profiles[cost_key(spec)].cost(model)
    return cost.macs / cost.macs_dense


def read_results() -> dict[str, dict[str, Any]]:
    if not RESULTS.is_file():
        return {}
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {row["key"]: row for row in rows}


def tables(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: mAP / NDS, mean of the seeds and half of their spread."""
    cells: dict[tuple[str, str, float], list[dict[str, Any]]] = defaultdict(list)
    for row in results.values():
        cells[row["table"], row["method"], row["level"]].append(row)
    lines = []
    for table in dict.fromkeys(key[0] for key in cells):
        levels = sorted({key[2] for key in cells if key[0] == table})
        lines += ["", f"{table}", "", "| | " + " | ".join(f"{v:g}" for v in levels) + " |"]
        lines.append("|---" * (len(levels) + 1) + "|")
        for method in dict.fromkeys(key[1] for key in cells if key[0] == table):
            shown = [cell(cells.get((table, method, level), [])) for level in levels]
            lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "-"
    parts = []
    for metric in ("mAP", "NDS"):
        values = [100 * row[metric] for row in rows]
        half = (max(values) - min(values)) / 2
        parts.append(f"{statistics.mean(values):.1f} ± {half:.1f}")
    return " / ".join(parts) + f" at {statistics.mean(r['GFLOPs'] for r in rows):.2f} GFLOPs"


if __name__ == "__main__":
    main()
