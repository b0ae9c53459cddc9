"""Optuna's study in a database that sweeps share: whose is whose, and no password on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.errors import InputError
from sparsefront.search.cli.main import main
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.reports.sweep_view import read_view
from sparsefront.search.runs.run_folder import RunFolder


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "me:***@127.0.0.1:1/x' cannot be opened"),
        ("foo://me:secret@host/x", "Can't load plugin: sqlalchemy.dialects:foo"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("postgresql://me:secret@host:port/x", "me:***@host:port/x' cannot be opened"),
    ],
)
def test_sweep_with_a_storage_that_cannot_be_opened_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any, storage: str,
    said: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One line, before anything is written, so that the sweep's name is still free."""
    monkeypatch.setenv("STUDY", storage)
    file = write_yaml({**sweep_data, "storage": "$STUDY"})
    assert main(["sweep", str(file), "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sparsefront: storage: value '") and error.count("\n") == 1
    assert said in error and "allowed: a file, or the URI of a database" in error
    assert "secret" not in error
    assert not (tmp_path / "runs").exists()


def test_optimizer_with_a_storage_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    space, objectives = {"x": (0.0, 1.0)}, {"loss": "min"}
    with pytest.raises(InputError, match=r"storage: value 'foo://x' cannot be opened: Can't load"):
        Optimizer(space, objectives, "foo://x")  # type: ignore[arg-type]
    (tmp_path / "text.log").write_text("no journal\n")
    for file in (tmp_path, tmp_path / "text.log"):
        with pytest.raises(InputError, match=r"storage: value .* cannot be opened: .*; allowed"):
            Optimizer(space, objectives, file)  # type: ignore[arg-type]


@pytest.mark.faults  # servers, and a minute
@pytest.mark.long
def test_two_sweeps_of_one_name_share_nothing_in_one_database(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Under different folders they share nothing; each is found again, and what is stored names
    the database by its variable alone.
    """
    monkeypatch.setenv("STUDY_FILE", str(tmp_path / "secret.db"))
    monkeypatch.setenv("MLFLOW_FILE", str(tmp_path / "records.db"))
    uris = {"storage": "sqlite:///$STUDY_FILE", "tracking_uri": "sqlite:///$MLFLOW_FILE"}
    sweep_data |= {**uris, "trials": 2, "first": []}
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    runs = [RunFolder(runs=tmp_path / out, name="same") for out in ("one", "other")]
    for seed, run in enumerate(runs):
        file = write_yaml({**sweep_data, "seed": seed})
        assert main(["sweep", str(file), "--name", "same", "--runs", str(run.runs)]) == 0
        assert run.finished() == [0, 1]
        stored = yaml.safe_load(run.sweep_file.read_text())
        assert {name: stored[name] for name in uris} == uris
        launched = json.loads(run.launch_file.read_text())
        assert launched["study"] == f"same-{launched['run_id']}"
        assert launched["tracking_uri"] == uris["tracking_uri"]
        assert not (run.path / "optuna.log").exists() and not (run.runs / "mlflow.db").exists()

    first, second = (read_view("same", run.runs).values for run in runs)
    assert sorted(first) == sorted(second) == [0, 1]
    assert first != second
    before = {f: f.stat().st_mtime_ns for f in runs[0].trials.glob("*/result.json")}
    capsys.readouterr()
    assert main(["resume", "same", "--runs", str(runs[0].runs)]) == 0
    assert "same: 2 trials, 2 done" in capsys.readouterr().err
    assert before == {f: f.stat().st_mtime_ns for f in runs[0].trials.glob("*/result.json")}
    assert read_view("same", runs[0].runs).values == first
