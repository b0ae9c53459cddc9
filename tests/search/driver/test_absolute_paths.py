"""Paths and URIs of a sweep before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.absolute_paths import with_absolute_paths


def test_paths_of_a_sweep_become_absolute(
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
        sweep = with_absolute_paths(read_sweep(write_yaml({**sweep_data, "storage": given})))
        assert sweep.storage == kept
        assert sweep.tracking_uri is None
    data = {**sweep_data, "space": {"checkpoint": {"choices": ["a.safetensors", "/b.safetensors"]}}}
    searched = with_absolute_paths(read_sweep(write_yaml(data))).space["checkpoint"]
    assert searched.corners() == [f"{tmp_path}/a.safetensors", "/b.safetensors"]
    monkeypatch.setenv("HOME", "/home/me")
    roots = {"train.root": {"choices": ["~/data", "here"]}}
    searched = with_absolute_paths(read_sweep(write_yaml({**sweep_data, "space": roots}))).space[
        "train.root"
    ]
    assert searched.corners() == ["/home/me/data", f"{tmp_path}/here"]


def test_password_in_the_sweep_file_is_warned_of(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    file = write_yaml({**sweep_data, "storage": "foo://me:secret@host/x"})
    assert main(["sweep", str(file), "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("storage: its password goes into sweep.yaml") and "secret" not in error
    assert main(["sweep", str(write_yaml({**sweep_data, "storage": "me:secret@host"}))]) == 2
    assert "storage: value 'me:***@host'; allowed: a database URI" in capsys.readouterr().err
