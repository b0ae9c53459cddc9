"""What a trial is told when it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.driver.searcher import OptunaSearcher
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.synthetic_sweep import synthetic_result


def result(quality: float, GFLOPs: float) -> TrialResult:
    """Of a dense model with 100 GFLOPs."""
    metrics = {"mAP": quality, "NDS": quality, "GFLOPs": GFLOPs, "GMACs_dense": 50.0}
    return replace(synthetic_result(quality, GFLOPs), metrics=metrics)


@pytest.mark.parametrize(
    ("field", "beaten_by"),
    [("allocation.per_modality.fusion", [{"GFLOPs": 60.0}]), ("fine_tune.lr", [])],
)
def test_worker_hears_of_dominating_costs_only_where_trials_are_comparable(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, field: str, beaten_by: Any
) -> None:
    """Nothing is beyond reach where trials are not one model trained alike."""
    sweep_data["space"][field] = {"low": 0.001, "high": 0.1}
    sweep_data["objectives"] = ["mAP", "NDS", "GFLOPs"]
    sweep = read_sweep(write_yaml(sweep_data))
    finished = [result(0.5, 99.0), result(0.6, 60.0)]
    searcher = OptunaSearcher(
        sweep,
        Optimizer(sweep.space, {"mAP": "max", "NDS": "max", "GFLOPs": "min"}),
        RunFolder(runs=tmp_path, name="one"),
        Mock(**{"finished.results.return_value": finished}),
        Mock(**{"has_to_stop.return_value": False, "stop": None}),
        [],
    )
    assert searcher.suggest("first")["beaten_by"] == beaten_by
