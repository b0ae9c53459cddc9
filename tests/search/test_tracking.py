"""The MLflow database appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from search.inspection.mlflow_store import make_database


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
