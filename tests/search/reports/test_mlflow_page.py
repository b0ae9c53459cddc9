"""Where MLflow's page of a sweep is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.errors import InputError
from sparsefront.files.atomic import write_json
from sparsefront.search.cli.main import main
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.reports.mlflow_page import mlflow_page
from sparsefront.search.runs.run_folder import RunFolder

PAGE = "#/experiments/1/runs/abc?workflowType=machine_learning"


def write_records(run: RunFolder, uri: str) -> None:
    """As a driver leaves them beside its MLflow records."""
    write_json(run.launch_file, {"run_id": "x", "address": None, "tracking_uri": uri})
    write_json(run.mlflow_file, {"mlflow": f"mlflow ui\n then http://127.0.0.1:5000/{PAGE}"})


def test_page_is_on_the_server_or_in_the_database_that_is_there(stored_sweep: Any) -> None:
    """A database that has moved with its run folders is found beside them."""
    run = stored_sweep("one", [(0.8, 9.0, 0.5), (0.7, 5.0, 0.5), (0.6, 6.0, 0.4)])
    write_records(run, "http://mlflow.example:5000")
    assert mlflow_page(run).has_server
    assert mlflow_page(run).page == PAGE
    write_records(run, "sqlite:////nowhere/mlflow.db")
    with pytest.raises(InputError, match=r"/nowhere/mlflow.db is gone"):
        mlflow_page(run)
    (run.runs / "mlflow.db").write_bytes(b"")
    assert mlflow_page(run).tracking_uri == f"sqlite:///{run.runs / 'mlflow.db'}"


def test_page_of_a_server_shows_no_password(
    sweep_data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """What was launched is stored without it; the sweep's file leads to it; it is not printed."""
    run = RunFolder(runs=tmp_path, name="one")
    run.path.mkdir()
    uri = "http://me:$MLFLOW_PASSWORD@mlflow:5000"
    run.sweep_file.write_text(yaml.safe_dump({**sweep_data, "tracking_uri": uri}))
    write_json(
        run.launch_file, {"run_id": "x", "address": None, "tracking_uri": mask_passwords(uri)}
    )
    write_json(run.mlflow_file, {"mlflow": f"{mask_passwords(uri)}/#/experiments/1/runs/a"})
    monkeypatch.setenv("MLFLOW_PASSWORD", "secret")
    assert mlflow_page(run).tracking_uri == "http://me:secret@mlflow:5000"
    assert main(["ui", "one", "--runs", str(tmp_path)]) == 0
    assert "http://me:***@mlflow:5000/#/experiments/1/runs/a" in capsys.readouterr().out
