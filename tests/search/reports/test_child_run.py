"""What MLflow is told of a trial."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_result import Stop
from sparsefront.search.reports.child_run import of_failed, of_finished, of_stopped
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial


@pytest.fixture
def sweep(sweep_data: dict[str, Any], write_yaml: Any) -> Any:
    return read_sweep(write_yaml(sweep_data))


def test_finished_trial(sweep: Any, tmp_path: Any) -> None:
    run = RunFolder(runs=tmp_path, name="one")
    write_trial(run, 4, run_trial(sweep.trial))
    trial = read_trial(run, 4)
    child = of_finished(trial, {"fine_tune.lr": 0.5})
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


def test_stopped_trial_has_its_costs_and_looks(sweep: Any) -> None:
    look = {"steps": 5, "frames": 0.5, "total_s": 3.0, "metrics": {"mAP": 0.1}}
    stop = Stop(reason="rank 3 of 3", costs={"GFLOPs": 2.0, "mAP": 0.1}, looks=[look])
    child = of_stopped(1, {}, sweep.trial, stop)
    assert (child.status, child.seconds, child.reason) == ("KILLED", 3.0, "rank 3 of 3")
    assert child.metrics == {"GFLOPs": 2.0}
    assert child.curves == [("rung/mAP", 0.1, 5)]


def test_failed_trial(sweep: Any) -> None:
    known = of_failed(1, {}, sweep.trial, "loss is nan")
    assert (known.name, known.status) == ("cam 0.50 lid 0.30 fus 0.20 · magnitude", "FAILED")
    unknown = of_failed(7, {"a": 1}, None, "the worker died")
    assert (unknown.name, unknown.params, unknown.reason) == (
        "trial 7", {"a": "1"}, "the worker died",
    )  # fmt: skip
