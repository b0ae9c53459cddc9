"""A sweep behind a URI; folders stand for machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsefront.search.runs.run_folder import RunFolder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSEFRONT_RUNS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(tmp_path: Path) -> RunFolder:
    """The sweep as it lies in the storage."""
    return RunFolder(runs=tmp_path / "storage", name="one")


@pytest.fixture
def uri(kept: RunFolder) -> str:
    return kept.runs.as_uri()
