"""What a sweep knows before any trial: the loss that its criterion's scores predict, exact MACs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.mask import PruningMask
from sparsefront.search.config.grouping import groups_of
from sparsefront.search.config.metric_names import BEFORE_TRAINING
from sparsefront.search.config.space import Range, with_values
from sparsefront.search.config.sweep_file import TILT, TRADE_OFF, Sweep, searched_sparsities
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.optimizer.prediction import LossPrediction
from sparsefront.search.optimizer.trade_off_prediction import TradeOffPrediction
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.loss_curves import CurveRequest, trade_off_request
from sparsefront.search.trial.shared import Shared, cost_key, dense_model, prepare, with_curves

GFLOPS_A_MAC = 2e-9
COST = "GFLOPs"


def prediction_of(sweep: Sweep, shared: Shared) -> LossPrediction:
    """Over the searched sparsities, or the searched trade-off; every other field stays as in the
    sweep's own trial.
    """
    if TRADE_OFF in sweep.space:
        return _over_trade_offs(sweep, shared)
    request = curve_request(sweep)
    shared = with_curves(request, shared)
    found = _objectives(sweep, request.spec, shared)
    return LossPrediction(curves=shared.curves[request.key()], **found)


def curve_request(sweep: Sweep) -> CurveRequest:
    """The curves of the searched sparsities."""
    ranges = searched_sparsities(sweep)
    return CurveRequest(
        spec=with_values(sweep.trial, dict.fromkeys(ranges, 0.0)),
        predicted_by=sweep.predicted_by, groups=searched_groups(sweep),
        ranges={name: (r.low, r.high) for name, r in ranges.items()},
    )  # fmt: skip


def _over_trade_offs(sweep: Sweep, shared: Shared) -> LossPrediction:
    spec = sweep.trial
    assert spec.trade_off is not None
    shared = prepare(spec, shared)
    saved = sweep.space[TRADE_OFF]
    assert isinstance(saved, Range)
    tilts = {
        name.removeprefix(TILT): (name, dimension)
        for name, dimension in sweep.space.items()
        if name.startswith(TILT) and isinstance(dimension, Range)
    }
    dense = replace(spec, trade_off=None, allocation=SparsityAllocation())
    return TradeOffPrediction(
        curves=shared.curves[trade_off_request(spec).key()], own=spec.trade_off,
        saved=(TRADE_OFF, saved), tilts=tilts, **_objectives(sweep, dense, shared),
    )  # fmt: skip


def _objectives(sweep: Sweep, least_pruned: TrialSpec, shared: Shared) -> dict[str, Any]:
    """What a prediction knows of the cost and of those objectives that pruning harms."""
    statistics = shared.statistics[score_cache.key_of(least_pruned)]
    profile = shared.profiles[cost_key(least_pruned)]
    groups = least_pruned.groups(dense_model(least_pruned, shared))
    scores = score_cache.scores(least_pruned, statistics, groups)
    least = profile.cost(PruningMask.from_scores(scores, least_pruned.allocation, groups))
    dense = TrialResult(
        metrics={
            "GMACs_dense": least.macs_dense / 1e9, "parameters_dense": float(least.parameters),
        },
        per_modality_sparsity={}, per_modality_GMACs={}, per_class={}, tp_errors={},
        per_layer_sparsity={}, cost={}, timings={},
    )  # fmt: skip
    names = [name for name in sweep.objectives if name not in BEFORE_TRAINING]
    known = sweep.known_objectives()
    objectives = {name: known[name] for name in [*names, COST]}
    limit = sweep.constraints.get(COST)
    return {
        "cost": COST, "dense": least.macs * GFLOPS_A_MAC, "unit": GFLOPS_A_MAC,
        "worst": {name: o.worst(dense) for name, o in objectives.items()},
        "most_cost": None if limit is None else limit.max,
        "best": {name: o.best_value for name, o in objectives.items()},
    }  # fmt: skip


def searched_groups(sweep: Sweep) -> dict[str, tuple[str, ...]]:
    """Searched field -> the weights whose sparsity it is."""
    return groups_of(sweep.trial, searched_sparsities(sweep))
