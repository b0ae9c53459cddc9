"""Exports as versions of registered models in MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial


@pytest.mark.long
def test_export_is_registered_and_fetched_by_its_alias(
    exported_run: RunFolder, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are the trial's; what is not there is said with what is."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = ["--runs", str(exported_run.runs)]
    words = ["--pick", "knee", "--out", str(tmp_path / "out"), "--register", "fused"]
    assert main(["export", "one", *words, *runs, "--alias", "latest"]) == 2
    assert "--alias: value 'latest'" in capsys.readouterr().err
    assert main(["export", "one", *words, *runs, "--alias", "car"]) == 0
    assert "registered as version 1 of fused" in capsys.readouterr().out
    assert main(["evaluate", "models:/fused@car", *runs, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics == read_trial(exported_run, 0).result.metrics
    assert main(["evaluate", "models:/fused@van", *runs]) == 2
    assert "no such version; aliases of 'fused': car (version 1)" in capsys.readouterr().err
    assert main(["evaluate", "models:/other@car", *runs]) == 2
    assert "no registered model 'other'; registered: fused" in capsys.readouterr().err
