"""What a sweep knows before any trial: the loss that its criterion's scores predict, exact MACs."""

from __future__ import annotations

from pruning.groups import ModalityGroups
from pruning.mask import PruningMask
from search.objectives import OBJECTIVES
from search.proposals.for_sweep import searched_sparsities
from search.proposals.prediction import Prediction
from search.space import with_values
from search.sweep_file import Sweep
from search.trials import score_cache
from search.trials.grouping import weights_of
from search.trials.loss_curves import by, curves_of
from search.trials.shared import Shared, cost_key, dense_model, prepare
from search.trials.spec import TrialResult

GFLOPS_A_MAC = 2e-9
COST = "GFLOPs"


def prediction_of(sweep: Sweep, shared: Shared) -> Prediction:
    """Over the searched sparsities; every other one stays as in the sweep's own trial."""
    ranges = searched_sparsities(sweep)
    spec = with_values(sweep.trial, dict.fromkeys(ranges, 0.0))
    shared = prepare(by(spec, sweep.predicted_by), prepare(spec, shared))
    statistics, profile = (
        shared.statistics[score_cache.key_of(spec)],
        shared.profiles[cost_key(spec)],
    )
    groups = ModalityGroups.from_model(dense_model(spec, shared))
    scores = score_cache.scores(spec, statistics, groups)
    least = profile.cost(PruningMask.from_scores(scores, spec.allocation, groups))
    dense = TrialResult(
        metrics={
            "GMACs_dense": least.macs_dense / 1e9, "parameters_dense": float(least.parameters),
        },
        per_modality_sparsity={}, per_modality_GMACs={}, per_class={}, tp_errors={},
        per_layer_sparsity={}, cost={}, timings={},
    )  # fmt: skip
    objectives = {name: OBJECTIVES[name] for name in sweep.objectives}
    return Prediction(
        curves=curves_of(
            spec, sweep.predicted_by, shared.statistics, profile, searched_budgets(sweep),
            {name: (r.low, r.high) for name, r in ranges.items()},
        ),
        cost=COST, dense=least.macs * GFLOPS_A_MAC, unit=GFLOPS_A_MAC,
        worst={name: o.worst(dense) for name, o in objectives.items()},
        most_cost=sweep.constraints[COST].max if COST in sweep.constraints else None,
        best={name: 1.0 if o.direction == "max" else 0.0 for name, o in objectives.items()},
    )  # fmt: skip


def searched_budgets(sweep: Sweep) -> dict[str, tuple[str, ...]]:
    """Searched field -> the weights whose sparsity it is."""
    fields = list(searched_sparsities(sweep))
    marks = {name: (1 + i) / (2 + len(fields)) for i, name in enumerate(fields)}
    allocation = with_values(sweep.trial, marks).allocation
    by_mark = {b.sparsity: b.names for b in allocation.budgets(weights_of(sweep.trial.model))}
    return {name: by_mark[mark] for name, mark in marks.items() if mark in by_mark}
