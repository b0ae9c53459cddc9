"""The MLflow database appears whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.reports.mlflow_logger import MlflowLogger
from sparsefront.search.reports.mlflow_store import make_database
from sparsefront.search.runs.run_folder import RunFolder


@pytest.mark.long
def test_database_is_made_whole(tmp_path: Path) -> None:
    """What a killed driver left is cleared away, and a second call changes nothing."""
    left = tmp_path / ".mlflow.db.999999999"
    left.write_text("half a database")
    path = tmp_path / "mlflow.db"
    make_database(path)
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db"]
    stamp = path.stat().st_mtime_ns
    make_database(path)
    assert path.stat().st_mtime_ns == stamp
    client = MlflowClient(f"sqlite:///{path}")
    assert client.create_experiment("x", artifact_location=tmp_path.as_uri())


@pytest.mark.long
def test_agreement_is_on_the_parent(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """How far prediction and measurement agree, by quality; what is not a number is left out."""
    sweep = read_sweep(write_yaml(sweep_data))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = MlflowLogger(sweep, RunFolder(runs=tmp_path, name="one"), "launch", uri)
    tracking.agreed({"mAP": Agreement(scores=0.5, recalibrated=math.nan)})
    parent = MlflowClient(uri).get_run(tracking.parent_id)
    assert parent.data.metrics == {"rank_correlation/mAP": 0.5}
