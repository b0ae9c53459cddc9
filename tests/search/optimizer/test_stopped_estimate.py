"""What the optimizer learns from trials that were ended early."""

from __future__ import annotations

import pytest

from sparsefront.search.config.objectives import Bound
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd, TrialResult
from sparsefront.search.optimizer.stopped_estimate import estimate_stopped

OBJECTIVES = ["mAP", "NDS", "GFLOPs"]


def result(
    mAP: float, GFLOPs: float, intermediate: list[IntermediateResult] | None = None
) -> TrialResult:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": GFLOPs, "GMACs_dense": 50.0}
    return TrialResult(
        metrics=metrics, per_modality_sparsity={}, per_modality_GMACs={}, per_class={},
        tp_errors={}, per_layer_sparsity={}, cost={}, timings={},
        intermediate_results=intermediate or [],
    )  # fmt: skip


def at_rung(mAP: float, steps: int = 5) -> IntermediateResult:
    metrics = {"mAP": mAP, "NDS": mAP, "GFLOPs": 40.0}
    return {"steps": steps, "frames": 0.5, "total_s": 1.0, "cpu_s": 1.0, "metrics": metrics}


def test_stopped_trial_is_estimated_by_what_finished_ones_gained() -> None:
    """Finished trials gained 0.1, 0.2 and 0.3 from that rung: 0.2 on average is added."""
    finished = [
        result(0.5, 80.0, [at_rung(0.4)]), result(0.5, 70.0, [at_rung(0.3)]),
        result(0.5, 60.0, [at_rung(0.2)]),
    ]  # fmt: skip
    end = TrialEnd.stopped(0, "why", {"GFLOPs": 40.0}, [at_rung(0.1, steps=0), at_rung(0.25)])
    found = estimate_stopped(end, OBJECTIVES, {"GFLOPs": Bound(max=30.0)}, finished)
    assert found.objectives == pytest.approx({"GFLOPs": 40.0, "mAP": 0.45, "NDS": 0.45})
    assert found.excess == {"GFLOPs<=30": 10.0}
    assert not end.is_free
    few = estimate_stopped(end, OBJECTIVES, {}, finished[:2])
    assert few.objectives["mAP"] == 0.25


def test_skipped_trial_is_estimated_as_the_best_and_is_free() -> None:
    """Without any rung it is taken for as good as the best, and counts as no trial."""
    end = TrialEnd.stopped(0, "why", {"GFLOPs": 90.0})
    found = estimate_stopped(end, OBJECTIVES, {}, [result(0.4, 20.0), result(0.6, 60.0)])
    assert found.objectives == {"GFLOPs": 90.0, "mAP": 0.6, "NDS": 0.6}
    assert end.is_free
    assert estimate_stopped(end, OBJECTIVES, {}, []).objectives == {"GFLOPs": 90.0}


def test_lower_bounds_of_costs_exceed_only_maxima() -> None:
    """A trial of at least 40 GFLOPs may cost more than the minimum asks."""
    end = TrialEnd.stopped(0, "why", {"GFLOPs": 40.0}, costs_are_lower_bounds=True)
    bounds = {"GFLOPs": Bound(min=45.0, max=39.0)}
    assert estimate_stopped(end, OBJECTIVES, bounds, []).excess == {"GFLOPs<=39": 1.0}
