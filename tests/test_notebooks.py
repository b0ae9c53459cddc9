"""The notebooks run from the first cell to the last, and are kept without outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers import paths
from tests.helpers.synthetic_sweep import write_synthetic_run

NOTEBOOKS = paths.CHECKOUT / "examples" / "notebooks"


def run(name: str, folder: Path) -> list[Any]:
    """The outputs of its code cells, run in a copy in the folder."""
    shutil.copy(NOTEBOOKS / name, folder)
    found = nbformat.read(folder / name, as_version=4)
    NotebookClient(found, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in found.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda f: f.stem)
def test_outputs_are_stripped(file: Path) -> None:
    cells = [c for c in json.loads(file.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells)


@pytest.mark.long
def test_front_of_a_sweep(tmp_path: Path) -> None:
    sweep = read_sweep(NOTEBOOKS.parent / "demo.yaml")
    points = [(0.7, 2.0, 0.6), (0.6, 1.0, 0.5), (0.4, 3.0, 0.5)]
    write_synthetic_run(RunFolder(runs=tmp_path / "runs", name="demo"), sweep, points)
    outputs = run("demo_front.ipynb", tmp_path)
    assert "trials on the front" in outputs[0][0].text
    assert any("image/png" in found.get("data", {}) for found in outputs[1])


@pytest.mark.long
def test_own_two_branch_model(tmp_path: Path) -> None:
    outputs = run("own_two_branch.ipynb", tmp_path)
    assert "TwoBranch" in outputs[-1][0].text and "accuracy" in outputs[-1][0].text
    assert (tmp_path / "runs" / "shapes" / "report.html").is_file()
