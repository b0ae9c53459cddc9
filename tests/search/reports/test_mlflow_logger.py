"""What the parent run of a sweep is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.reports.mlflow_logger import MlflowLogger
from sparsefront.search.runs.run_folder import RunFolder


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
