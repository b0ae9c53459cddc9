"""What the parent run of a sweep is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient

from sparsefront.files.atomic import write_json
from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.reports.mlflow_logger import MlflowLogger
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.faults import runs_of


@pytest.mark.long
def test_agreement_is_on_the_parent(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """How far prediction and measurement agree, by quality; what is not a number is left out."""
    sweep = read_sweep(write_yaml(sweep_data))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logger = MlflowLogger(sweep, RunFolder(runs=tmp_path, name="one"), "launch", uri)
    logger.log_agreement({"mAP": Agreement(scores=0.5, recalibrated=math.nan)})
    parent = MlflowClient(uri).get_run(logger.parent_id)
    assert parent.data.metrics == {"rank_correlation/mAP": 0.5}


class TwoTrials:
    """An optimizer that has heard of no end yet."""

    def states(self) -> dict[int, str]:
        return {0: "RUNNING", 1: "RUNNING"}

    def values(self, trial_id: int) -> dict[str, Any]:
        return {}


@pytest.mark.long
def test_trial_that_was_caught_up_with_is_logged_once(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """Its worker was done with it before the driver heard so, while MLflow was away."""
    sweep, run = read_sweep(write_yaml(sweep_data)), RunFolder(runs=tmp_path, name="one")
    logger = MlflowLogger(sweep, run, "launch", f"sqlite:///{tmp_path}/mlflow.db")
    for number in (0, 1):
        write_json(run.trial_dir(number) / "failure.json", {"reason": "out of luck"})
    logger.catch_up(cast(Any, TwoTrials()))
    logger.log_end(TrialEnd.failed(1, "out of luck"), {})
    children = runs_of(tmp_path)[1]
    assert sorted(c.data.tags["sparsefront.trial"] for c in children) == ["0", "1"]
