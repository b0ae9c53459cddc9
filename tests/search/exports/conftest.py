"""An export of a tiny trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsefront.search.exports.export import export
from sparsefront.search.runs.run_folder import RunFolder


@pytest.fixture
def folder(exported_run: RunFolder, tmp_path: Path) -> Path:
    return export("one", exported_run.runs, "knee", tmp_path / "out")
