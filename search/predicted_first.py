"""The first trials of a sweep: along the front that the criterion's scores predict."""

from __future__ import annotations

from functools import partial

import numpy as np

from pruning.allocation import SparsityAllocation
from pruning.groups import ModalityGroups
from pruning.predicted_front import budget_curve, predicted_front
from search import score_cache
from search.shared import Shared, cost_key, dense_model, prepare
from search.space import Range, Value, with_values
from search.sweep_file import Sweep
from search.sweep_optimizer import own_values, searched_sparsities
from search.trial_spec import TrialSpec

MOST = 12
STEPS = 40


def predicted_first(sweep: Sweep, shared: Shared) -> list[dict[str, Value]]:
    """Allocations along the predicted front, the least pruned first; other fields keep the sweep
    file's own value, if the space allows it.
    """
    spec, ranges = sweep.trial, searched_sparsities(sweep)
    shared = prepare(spec, shared)
    groups = ModalityGroups.from_model(dense_model(spec, shared))
    scores = score_cache.scores(spec, shared.statistics[score_cache.key_of(spec)], groups)
    profile = shared.profiles[cost_key(spec)]
    curves = {
        name: budget_curve(
            scores, groups, profile, partial(_only, spec, ranges, name),
            np.linspace(r.low, r.high, STEPS).tolist(),
        )
        for name, r in ranges.items()
    }  # fmt: skip
    count = min(MOST, max(2, sweep.trials // 2))
    others = own_values(sweep)
    return [{**others, **values} for values in predicted_front(curves, count)]


def _only(
    spec: TrialSpec, ranges: dict[str, Range], name: str, sparsity: float
) -> SparsityAllocation:
    """The allocation with one searched field at a sparsity and the others dense."""
    dense = dict.fromkeys(ranges, 0.0)
    return with_values(spec, {**dense, name: sparsity}).allocation
