"""Trials that end before any training, and what the optimizer learns from those ended early."""

from __future__ import annotations

from typing import Any

import pytest

from search.objectives import Bound
from search.rungs.skipping import unbeatable, useless
from search.rungs.stopped import outcome_of
from search.runs.run_store import Stop
from search.trials.spec import TrialResult

OBJECTIVES = ["mAP", "NDS", "GFLOPs"]


def result(mAP: float, GFLOPs: float, looks: list[dict[str, Any]] | None = None) -> TrialResult:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": GFLOPs, "GMACs_dense": 50.0}
    return TrialResult(
        metrics=metrics, per_modality_sparsity={}, per_modality_GMACs={}, per_class={},
        tp_errors={}, per_layer_sparsity={}, cost={}, timings={}, looks=looks or [],
    )  # fmt: skip


def look(mAP: float, steps: int = 5) -> dict[str, Any]:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": 40.0}
    return {"steps": steps, "frames": 0.5, "total_s": 1.0, "metrics": metrics}


def test_what_costs_more_than_the_best() -> None:
    """At 60 GFLOPs a trial is as good as any, the dense one included: 60 and more cannot pay."""
    beaten_by = unbeatable(OBJECTIVES, [result(0.5, 99.0), result(0.6, 60.0), result(0.3, 20.0)])
    assert beaten_by == [{"GFLOPs": 60.0}]
    reason = useless({"GFLOPs": 70.0}, beaten_by, {})
    assert reason is not None and "GFLOPs 60 only" in reason
    assert useless({"GFLOPs": 59.9}, beaten_by, {}) is None


def test_what_is_within_reach_must_be_known() -> None:
    """Without a nearly dense trial better ones may cost more; a best in mAP only beats nothing."""
    assert unbeatable(OBJECTIVES, [result(0.6, 60.0)]) == []
    assert unbeatable(["mAP", "NDS"], [result(0.6, 99.0)]) == []
    assert unbeatable(["GFLOPs"], [result(0.6, 99.0)]) == []
    split = result(0.6, 60.0)
    split.metrics["NDS"] = 0.1
    assert unbeatable(OBJECTIVES, [result(0.5, 99.0), split]) == []


def test_constraints_on_the_cost() -> None:
    bounds = {"GFLOPs": Bound(max=50.0), "sparsity": Bound(min=0.3), "mAP": Bound(min=0.9)}
    known = {"GFLOPs": 40.0, "sparsity": 0.5}
    assert useless(known, [], bounds) is None
    assert useless({**known, "GFLOPs": 51.0}, [], bounds) == (
        "breaks GFLOPs<=50 before any training: 51"
    )
    assert useless({**known, "sparsity": 0.2}, [], bounds) == (
        "breaks sparsity>=0.3 before any training: 0.2"
    )


def test_estimate_of_a_stopped_trial() -> None:
    """Finished trials gained 0.1, 0.2 and 0.3 from that rung: 0.2 on average is added."""
    finished = [
        result(0.5, 80.0, [look(0.4)]), result(0.5, 70.0, [look(0.3)]),
        result(0.5, 60.0, [look(0.2)]),
    ]  # fmt: skip
    stop = Stop(reason="why", costs={"GFLOPs": 40.0}, looks=[look(0.1, steps=0), look(0.25)])
    found = outcome_of(stop, OBJECTIVES, {"GFLOPs": Bound(max=30.0)}, finished)
    assert found.estimate == pytest.approx({"GFLOPs": 40.0, "mAP": 0.45, "NDS": 0.45})
    assert found.excess == {"GFLOPs<=30": 10.0}
    assert not found.free
    few = outcome_of(stop, OBJECTIVES, {}, finished[:2])
    assert few.estimate["mAP"] == 0.25


def test_skipped_for_free() -> None:
    """Without any look it is taken for as good as the best, and counts as no trial."""
    stop = Stop(reason="why", costs={"GFLOPs": 90.0}, looks=[])
    found = outcome_of(stop, OBJECTIVES, {}, [result(0.4, 20.0), result(0.6, 60.0)])
    assert found.estimate == {"GFLOPs": 90.0, "mAP": 0.6, "NDS": 0.6}
    assert found.free
    assert outcome_of(stop, OBJECTIVES, {}, []).estimate == {"GFLOPs": 90.0}
