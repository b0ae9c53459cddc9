"""Trials that end before any training: which, and why."""

from __future__ import annotations

from sparsefront.search.config.objectives import Bound
from sparsefront.search.config.trial_result import TrialEnd, TrialResult
from sparsefront.search.optimizer.skipping import (
    comparable,
    dominating_costs,
    give_up_reason,
    skip_reason,
)

OBJECTIVES = ["mAP", "NDS", "GFLOPs"]


def result(mAP: float, GFLOPs: float) -> TrialResult:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": GFLOPs, "GMACs_dense": 50.0}
    return TrialResult(
        metrics=metrics, per_modality_sparsity={}, per_modality_GMACs={}, per_class={},
        tp_errors={}, per_layer_sparsity={}, cost={}, timings={},
    )  # fmt: skip


def test_trial_as_costly_as_the_best_is_skipped() -> None:
    """At 60 GFLOPs a trial is as good as any, the dense one included: 60 and more cannot pay."""
    beaten_by = dominating_costs(
        OBJECTIVES, [result(0.5, 99.0), result(0.6, 60.0), result(0.3, 20.0)]
    )
    assert beaten_by == [{"GFLOPs": 60.0}]
    reason = skip_reason({"GFLOPs": 70.0}, beaten_by, {})
    assert reason is not None and "GFLOPs 60 only" in reason
    assert skip_reason({"GFLOPs": 59.9}, beaten_by, {}) is None


def test_nothing_is_skipped_without_a_nearly_dense_trial() -> None:
    """Without a nearly dense trial better ones may cost more; a best in mAP only beats nothing."""
    assert dominating_costs(OBJECTIVES, [result(0.6, 60.0)]) == []
    assert dominating_costs(["mAP", "NDS"], [result(0.6, 99.0)]) == []
    assert dominating_costs(["GFLOPs"], [result(0.6, 99.0)]) == []
    split = result(0.6, 60.0)
    split.metrics["NDS"] = 0.1
    assert dominating_costs(OBJECTIVES, [result(0.5, 99.0), split]) == []


def test_only_feasible_trials_dominate() -> None:
    """The best of all at 20 GFLOPs breaks a constraint; of the others that at 60 is the best."""
    trials = [result(0.5, 99.0), result(0.6, 60.0), result(0.7, 20.0)]
    trials[2].metrics["skipped"] = 5.0
    trials[0].metrics["skipped"] = trials[1].metrics["skipped"] = 0.0
    assert dominating_costs(OBJECTIVES, trials) == [{"GFLOPs": 20.0}]
    assert dominating_costs(OBJECTIVES, trials, {"skipped": Bound(max=0.0)}) == [{"GFLOPs": 60.0}]
    assert dominating_costs(OBJECTIVES, trials, {"skipped": Bound(min=9.0)}) == []


def test_only_fields_that_choose_weights_are_comparable() -> None:
    """Of one model trained alike; a fuser or a learning rate may reach more."""
    assert comparable(["allocation.per_stage.camera.neck", "trade_off.saved", "criterion.beta"])
    assert not comparable(["allocation.per_modality.camera", "model.fuser"])
    assert not comparable(["fine_tune.lr"])


def test_broken_constraint_on_the_cost_skips_the_trial() -> None:
    bounds = {"GFLOPs": Bound(max=50.0), "sparsity": Bound(min=0.3), "mAP": Bound(min=0.9)}
    known = {"GFLOPs": 40.0, "sparsity": 0.5}
    assert skip_reason(known, [], bounds) is None
    assert skip_reason({**known, "GFLOPs": 51.0}, [], bounds) == (
        "breaks GFLOPs<=50 before any training: 51"
    )
    assert skip_reason({**known, "sparsity": 0.2}, [], bounds) == (
        "breaks sparsity>=0.3 before any training: 0.2"
    )


def test_lower_bounds_of_costs_break_only_maxima() -> None:
    """A trial of at least 40 GFLOPs may cost more: it breaks a maximum, and no minimum."""
    costs, least = {"GFLOPs": 40.0}, {"costs_are_lower_bounds": True}
    assert skip_reason(costs, [], {"GFLOPs": Bound(min=45.0, max=60.0)}, **least) is None
    assert skip_reason(costs, [], {"GFLOPs": Bound(max=39.0)}, **least) == (
        "breaks GFLOPs<=39 before any training: at least 40"
    )
    assert skip_reason(costs, [{"GFLOPs": 30.0, "latency_ms": 5.0}], {}, **least) is None
    assert skip_reason(costs, [{"GFLOPs": 30.0}], {}, **least) is not None
    bounds = {"GFLOPs": Bound(min=45.0, max=39.0)}
    end = TrialEnd.stopped(0, "why", costs, **least)
    assert give_up_reason([end], bounds) == (
        "none met GFLOPs<=39 (best value seen: 40); allowed: constraints that the space can meet"
    )


def test_give_up_reason_names_the_bounds_that_nothing_met() -> None:
    def skipped(**costs: float) -> TrialEnd:
        return TrialEnd.stopped(0, "dominated before any training", costs)

    seen = [skipped(GFLOPs=9.0, sparsity=0.2), skipped(GFLOPs=7.0, sparsity=0.4)]
    bounds = {"GFLOPs": Bound(max=5.0), "sparsity": Bound(min=0.3), "mAP": Bound(min=0.9)}
    assert give_up_reason(seen, bounds) == (
        "none met GFLOPs<=5 (best value seen: 7); allowed: constraints that the space can meet"
    )
    bounds = {"GFLOPs": Bound(min=8.0, max=5.0), "sparsity": Bound(min=0.5)}
    assert "GFLOPs<=5 (best value seen: 7), sparsity>=0.5 (best value seen: 0.4)" in give_up_reason(
        seen, bounds
    )
    assert give_up_reason(seen, {}) == "the last one dominated before any training"
