"""Shared storage that fails for a moment, and URIs that cannot be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.runs.run_folder import run_folder, working_copy
from sparsefront.search.runs.shared_storage import SharedStorage


def test_moment_without_an_answer_is_not_told(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again, without a word."""
    monkeypatch.setattr("sparsefront.search.runs.shared_storage.WAITS_S", (0.0, 0.0))
    with working_copy(run_folder(uri, "one")) as run:
        assert run.shared is not None
        file = run.path / "sweep.yaml"
        file.parent.mkdir()
        file.write_text("name: one")
        put, tried = SharedStorage._put, []

        def twice(self: SharedStorage, file: Path) -> None:
            tried.append(file)
            if len(tried) < 3:
                raise ConnectionError("busy")
            put(self, file)

        monkeypatch.setattr(SharedStorage, "_put", twice)
        run.push(file)
        assert run.exists() and len(tried) == 3


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nowhere://bucket/runs", "Protocol not known: nowhere; allowed: a path, or a URI that"),
        ("adl://bucket/runs", "needed: `pip install adlfs`, on every node"),
    ],
)
@pytest.mark.parametrize("verb", ["front", "export", "resume"])
def test_uri_that_cannot_be_opened_is_refused(
    uri: str, said: str, verb: str, tmp_path: Path, capsys: Any
) -> None:
    options = {
        "front": ("--runs", uri),
        "resume": ("--runs", uri),
        "export": ("--pick", "knee", "--out", str(tmp_path / "new"), "--runs", uri),
    }
    assert main([verb, "one", *options[verb]]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"sparsefront: --runs: value '{uri}': ") and line.count("\n") == 1
    assert said in line
