"""What MLflow is told of a trial."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd
from sparsefront.search.reports.child_run import failed_run, finished_run, stopped_run
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial


@pytest.fixture
def sweep(sweep_data: dict[str, Any], write_yaml: Any) -> Any:
    return read_sweep(write_yaml(sweep_data))


def test_finished_trial_has_its_metrics_by_group_and_its_curves(sweep: Any, tmp_path: Any) -> None:
    run = RunFolder(runs=tmp_path, name="one")
    write_trial(run, 4, run_trial(sweep.trial))
    trial = read_trial(run, 4)
    child = finished_run(trial, {"fine_tune.lr": 0.5})
    assert (child.trial_id, child.status, child.reason) == (4, "FINISHED", None)
    assert child.name == "cam 0.50 lid 0.30 fus 0.20 · magnitude"
    assert child.params["fine_tune.lr"] == "0.5"
    assert child.params["seed"] == "0"

    assert child.tags["version.torch"] == torch.__version__

    result, metrics = trial.result, child.metrics
    assert metrics["mAP"] == result.metrics["mAP"]
    assert metrics["sparsity/camera"] == result.per_modality_sparsity["camera"]
    assert metrics["AP/car"] == result.per_class["AP.car"]
    assert {"TP/trans_err", "time/total_s", "GMACs/lidar"} <= set(metrics)
    assert all(map(math.isfinite, metrics.values()))
    table = child.layers
    assert table["weight"] == list(result.per_layer_sparsity)
    for modality, share in result.per_modality_sparsity.items():
        rows = [i for i, own in enumerate(table["modality"]) if own == modality]
        gone = sum(table["parameters"][i] * table["removed"][i] for i in rows)
        assert gone / sum(table["parameters"][i] for i in rows) == pytest.approx(share)
        stages = [m for m in metrics if m.startswith(f"sparsity/{modality}.")]
        low, high = min(metrics[m] for m in stages), max(metrics[m] for m in stages)
        assert low - 1e-9 <= share <= high + 1e-9
    losses = [point for point in child.curves if point[0] == "fine_tune/loss"]
    assert losses == [("fine_tune/loss", v, i) for i, v in enumerate(result.losses)]


def test_stopped_trial_has_its_costs_and_intermediate_results(sweep: Any) -> None:
    result: IntermediateResult = {
        "steps": 5, "frames": 0.5, "total_s": 3.0, "cpu_s": 2.0, "metrics": {"mAP": 0.1},
    }  # fmt: skip
    end = TrialEnd.stopped(1, "rank 3 of 3", {"GFLOPs": 2.0, "mAP": 0.1}, [result])
    child = stopped_run(end, {}, sweep.trial)
    assert (child.status, child.seconds, child.reason) == ("KILLED", 3.0, "rank 3 of 3")
    assert child.metrics == {"GFLOPs": 2.0}
    assert child.curves == [("rung/mAP", 0.1, 5)]


def test_failed_trial_has_its_reason_and_what_is_known_of_it(sweep: Any) -> None:
    known = failed_run(TrialEnd.failed(1, "loss is nan"), {}, sweep.trial)
    assert (known.name, known.status) == ("cam 0.50 lid 0.30 fus 0.20 · magnitude", "FAILED")
    unknown = failed_run(TrialEnd.failed(7, "the worker died"), {"a": 1}, None)
    assert (unknown.name, unknown.params, unknown.reason) == (
        "trial 7", {"a": "1"}, "the worker died",
    )  # fmt: skip
