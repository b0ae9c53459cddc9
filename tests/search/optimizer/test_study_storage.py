"""Optuna's study in a database that sweeps share: whose is whose, and no password on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.files.atomic import write_json
from sparsefront.search.cli.main import main
from sparsefront.search.config.passwords import masked
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.absolute_paths import absolute
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.reports.mlflow_page import mlflow_page
from sparsefront.search.reports.sweep_view import read_view
from sparsefront.search.runs.run_folder import RunFolder


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@db/x", "postgresql://me:***@db/x"),
        ("at mysql://:se/cr@et@db:5432/x?a=b now", "at mysql://:***@db:5432/x?a=b now"),
        ("mysql://db/x?user=me&password=secret&a=b", "mysql://db/x?user=me&password=***&a=b"),
        ("me:secret@db/x", "me:***@db/x"),
        ("sqlite:////runs/study.db", "sqlite:////runs/study.db"),
        ("http://mlflow:5000/#/experiments/1", "http://mlflow:5000/#/experiments/1"),
        ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
    ],
)  # fmt: skip
def test_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "me:***@127.0.0.1:1/x' cannot be opened"),
        ("foo://me:secret@host/x", "Can't load plugin: sqlalchemy.dialects:foo"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("postgresql://me:secret@host:port/x", "me:***@host:port/x' cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any, storage: str,
    said: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One line, before anything is written, so that the sweep's name is still free."""
    monkeypatch.setenv("STUDY", storage)
    file = write_yaml({**sweep_data, "storage": "$STUDY"})
    assert main(["sweep", str(file), "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("sparsefront: storage: value '") and told.count("\n") == 1
    assert said in told and "allowed: a file, or the URI of a database" in told
    assert "secret" not in told
    assert not (tmp_path / "runs").exists()


def test_an_optimizer_says_the_same(tmp_path: Path) -> None:
    space, objectives = {"x": (0.0, 1.0)}, {"loss": "min"}
    with pytest.raises(ValueError, match=r"storage: value 'foo://x' cannot be opened: Can't load"):
        Optimizer(space, objectives, "foo://x")  # type: ignore[arg-type]
    (tmp_path / "text.log").write_text("no journal\n")
    for file in (tmp_path, tmp_path / "text.log"):
        with pytest.raises(ValueError, match=r"storage: value .* cannot be opened: .*; allowed"):
            Optimizer(space, objectives, file)  # type: ignore[arg-type]


def test_a_password_in_the_file_is_told(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    file = write_yaml({**sweep_data, "storage": "foo://me:secret@host/x"})
    assert main(["sweep", str(file), "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("storage: its password goes into sweep.yaml") and "secret" not in told
    assert main(["sweep", str(write_yaml({**sweep_data, "storage": "me:secret@host"}))]) == 2
    assert "storage: value 'me:***@host'; allowed: a database URI" in capsys.readouterr().err


def test_variables_stay_as_they_are_written(
    sweep_data: dict[str, Any], write_yaml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_PASSWORD", "secret")
    monkeypatch.setenv("SPLIT", "procedural_val")
    sweep_data["trial"]["val"]["split"] = "$SPLIT"
    sweep_data["storage"] = "postgresql://me:$STUDY_PASSWORD@db/x"
    sweep_data["tracking_uri"] = "http://me:${STUDY_PASSWORD}@mlflow:5000"
    sweep = read_sweep(write_yaml(sweep_data))
    assert sweep.storage == sweep_data["storage"]
    assert sweep.tracking_uri == sweep_data["tracking_uri"]
    assert sweep.trial.val.split == "procedural_val"


def test_the_page_of_a_server_with_a_password(
    sweep_data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """What was launched is stored without it; the sweep's file leads to it; it is not printed."""
    run = RunFolder(runs=tmp_path, name="one")
    run.path.mkdir()
    uri = "http://me:$MLFLOW_PASSWORD@mlflow:5000"
    run.sweep_file.write_text(yaml.safe_dump({**sweep_data, "tracking_uri": uri}))
    write_json(run.launch_file, {"run_id": "x", "address": None, "tracking_uri": masked(uri)})
    write_json(run.mlflow_file, {"mlflow": f"{masked(uri)}/#/experiments/1/runs/a"})
    monkeypatch.setenv("MLFLOW_PASSWORD", "secret")
    assert mlflow_page(run).tracking_uri == "http://me:secret@mlflow:5000"
    assert main(["ui", "one", "--out", str(tmp_path)]) == 0
    assert "http://me:***@mlflow:5000/#/experiments/1/runs/a" in capsys.readouterr().out


def test_files_are_absolute(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later `resume` from elsewhere finds the same database."""
    monkeypatch.chdir(tmp_path)
    for given, kept in (
        ("sqlite:///study.db", f"sqlite:///{tmp_path}/study.db"),
        ("sqlite:////study.db", "sqlite:////study.db"),
        ("sqlite:///$STUDY", "sqlite:///$STUDY"),
        ("postgresql://db/study.db", "postgresql://db/study.db"),
    ):
        sweep = absolute(read_sweep(write_yaml({**sweep_data, "storage": given})))
        assert sweep.storage == kept
        assert sweep.tracking_uri is None
    data = {**sweep_data, "space": {"checkpoint": {"choices": ["a.safetensors", "/b.safetensors"]}}}
    searched = absolute(read_sweep(write_yaml(data))).space["checkpoint"]
    assert searched.corners() == [f"{tmp_path}/a.safetensors", "/b.safetensors"]
    monkeypatch.setenv("HOME", "/home/me")
    roots = {"train.root": {"choices": ["~/data", "here"]}}
    searched = absolute(read_sweep(write_yaml({**sweep_data, "space": roots}))).space["train.root"]
    assert searched.corners() == ["/home/me/data", f"{tmp_path}/here"]


@pytest.mark.long
def test_two_sweeps_of_one_name_in_one_database(
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
        assert main(["sweep", str(file), "--name", "same", "--out", str(run.runs)]) == 0
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
    assert main(["resume", "same", "--out", str(runs[0].runs)]) == 0
    assert "same: 2 trials, 2 done" in capsys.readouterr().err
    assert before == {f: f.stat().st_mtime_ns for f in runs[0].trials.glob("*/result.json")}
    assert read_view("same", runs[0].runs).values == first
