"""How a trial ended, and results as earlier versions wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.config.trial_result import (
    IntermediateResult,
    TrialEnd,
    TrialResult,
    result_from_dict,
)


def result(**fields: Any) -> TrialResult:
    given: dict[str, Any] = {
        "metrics": {"mAP": 0.5}, "per_modality_sparsity": {}, "per_modality_GMACs": {},
        "per_class": {}, "tp_errors": {}, "per_layer_sparsity": {}, "cost": {},
        "timings": {"total_s": 3.0, "cpu_s": 2.0}, **fields,
    }  # fmt: skip
    return TrialResult(**given)


RUNG: IntermediateResult = {
    "steps": 5, "frames": 0.5, "total_s": 1.5, "cpu_s": 1.0, "metrics": {"mAP": 0.25},
}  # fmt: skip


def test_end_takes_its_seconds_from_what_was_measured() -> None:
    finished = TrialEnd.finished(3, result())
    assert (finished.trial_id, finished.status, finished.reason) == (3, "finished", "")
    assert (finished.seconds, finished.cpu_s) == (3.0, 2.0)
    stopped = TrialEnd.stopped(4, "rung 1 of 1", {"GFLOPs": 2.0}, [RUNG])
    assert (stopped.status, stopped.seconds, stopped.cpu_s) == ("stopped", 1.5, 1.0)
    failed = TrialEnd.failed(5, "killed")
    assert (failed.status, failed.reason, failed.seconds) == ("failed", "killed", 0.0)


def test_only_a_trial_skipped_before_any_training_is_free() -> None:
    assert TrialEnd.stopped(0, "dominated", {"GFLOPs": 2.0}).is_free
    assert not TrialEnd.stopped(0, "rung 1 of 1", {"GFLOPs": 2.0}, [RUNG]).is_free
    assert not TrialEnd.finished(0, result()).is_free
    assert not TrialEnd.failed(0, "killed").is_free


def test_metric_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ArithmeticError, match="metric mAP is not finite: nan"):
        result(metrics={"mAP": float("nan")})


def test_result_round_trips_through_its_dict() -> None:
    written = result(intermediate_results=[RUNG], notes=["checkpoint not readable"])
    assert result_from_dict(written.to_dict()) == written


def test_result_of_version_0_1_is_read() -> None:
    """Intermediate results were called looks."""
    written = result(intermediate_results=[RUNG])
    older = written.to_dict()
    older["looks"] = older.pop("intermediate_results")
    assert result_from_dict(older) == written


def test_result_written_before_environments_is_read() -> None:
    older = result(environment={"python": "3.11.7"}).to_dict()
    del older["environment"]
    assert result_from_dict(older).environment == {}


def test_result_written_before_the_deployed_parameters_is_read() -> None:
    """What was called parameters was the dense model's; the deployed model's are not known."""
    names = ("per_modality_sparsity", "per_modality_GMACs", "per_class", "tp_errors", "cost")
    data: dict[str, Any] = {name: {} for name in (*names, "per_layer_sparsity", "timings")}
    found = result_from_dict({**data, "metrics": {"parameters": 9.0, "nonzeros": 3.0}})
    assert found.metrics == {"parameters_dense": 9.0, "nonzeros": 3.0}
    assert OBJECTIVES["nonzeros"].gain(found) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="'parameters' was not measured"):
        OBJECTIVES["parameters"].gain(found)


def test_result_written_before_other_tasks_is_read() -> None:
    names = ("metrics", "per_modality_sparsity", "per_modality_GMACs", "tp_errors", "cost")
    data: dict[str, Any] = {name: {} for name in (*names, "per_layer_sparsity", "timings")}
    assert result_from_dict({**data, "per_class_AP": {"car": 0.5}}).per_class == {"AP.car": 0.5}
