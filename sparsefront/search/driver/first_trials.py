"""What a sweep tries first, as far as scores are needed for it, and what guides it later."""

from __future__ import annotations

import numpy as np

from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.search.config.space import Range, Value
from sparsefront.search.config.sweep_file import (
    TRADE_OFF,
    Sweep,
    searched_sparsities,
    unpredictable,
)
from sparsefront.search.driver.predictions import prediction_of, searched_groups
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.for_sweep import first_of, num_initial, own_values
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.shared import Shared, dense_model, prepare

ERK_TOTALS = (0.5, 0.7, 0.85)
PAPER_TOTALS = (0.8, 0.85, 0.9)
"""AlterMOMA's and CrossPrune's tables."""


def predicts(sweep: Sweep) -> bool:
    """Whether predicted losses are needed before the first trial, those of a searched trade-off to
    be compared with what is measured.
    """
    if TRADE_OFF in sweep.space:
        return not unpredictable(sweep)
    return "predicted" in first_of(sweep) or sweep.sampler == "predicted"


def needs_scores(sweep: Sweep) -> bool:
    """Whether the scores of the sweep's own trial are needed before the first one starts."""
    return predicts(sweep) or bool({"erk", "papers"} & set(first_of(sweep)))


def prepare_search(sweep: Sweep, optimizer: Optimizer, shared: Shared) -> None:
    """Gives the optimizer the predicted front to follow, and the first trials from scores."""
    if predicts(sweep):
        prediction = prediction_of(sweep, shared)
        optimizer.guide(prediction, follows=sweep.sampler == "predicted")
        if "predicted" in first_of(sweep) and TRADE_OFF not in sweep.space:
            along = prediction.first(num_initial(sweep))
            optimizer.enqueue([{**own_values(sweep), **sparsities} for sparsities in along])
    if "predicted" in first_of(sweep) and TRADE_OFF in sweep.space:
        optimizer.enqueue(trade_offs(sweep))
    if "erk" in first_of(sweep):
        totals = [SparsityAllocation(overall=total, rule="erk") for total in ERK_TOTALS]
        optimizer.enqueue([resolved_by(sweep, shared, t) for t in totals], "ERK")
    if "papers" in first_of(sweep):
        totals = [SparsityAllocation(overall=total) for total in PAPER_TOTALS]
        optimizer.enqueue([resolved_by(sweep, shared, t) for t in totals], "papers")


def trade_offs(sweep: Sweep) -> list[dict[str, Value]]:
    """From the range's low end to its high one, the scores believed as far as ranges allow."""
    saved = sweep.space[TRADE_OFF]
    if not isinstance(saved, Range):
        return []  # every choice is tried anyway
    tilts: dict[str, Value] = {
        name: min(max(0.0, dimension.low), dimension.high)
        for name, dimension in sweep.space.items()
        if name.startswith("trade_off.tilt.") and isinstance(dimension, Range)
    }
    steps = np.linspace(saved.low, saved.high, num_initial(sweep)).tolist()
    return [{**own_values(sweep), **tilts, TRADE_OFF: step} for step in steps]


def resolved_by(sweep: Sweep, shared: Shared, allocation: SparsityAllocation) -> dict[str, Value]:
    """Values of the searched sparsities that give each group what `allocation` gives it over the
    whole model, as far as their ranges go; other fields keep the sweep file's own value.
    """
    spec, ranges = sweep.trial, searched_sparsities(sweep)
    shared = prepare(spec, shared)
    groups = ModalityGroups.from_model(dense_model(spec, shared))
    scores = score_cache.scores(spec, shared.statistics[score_cache.key_of(spec)], groups)
    kept = PruningMask.from_scores(scores, allocation, groups).by_weight
    values: dict[str, Value] = own_values(sweep)
    for name, weights in searched_groups(sweep).items():
        size = sum(kept[weight].numel() for weight in weights)
        removed = 1 - sum(int(kept[weight].sum()) for weight in weights) / size
        values[name] = min(max(removed, ranges[name].low), ranges[name].high)
    return values
