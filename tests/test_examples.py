"""The example scripts run as they are; the example sweep files are valid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.training.train import read_train
from tests.helpers import paths

EXAMPLES = paths.CHECKOUT / "examples"


def test_prune_your_model_runs_as_it_is() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "prune_your_model.py")],
        capture_output=True, text=True, check=True, cwd=EXAMPLES.parent,
    )  # fmt: skip
    assert "removed: {'camera': 0.799, 'lidar': 0.5, 'fusion': 0.25}" in done.stdout
    assert "MACs a frame" in done.stdout
    assert "sizes now" in done.stdout


@pytest.mark.parametrize(
    "file", sorted(EXAMPLES.glob("*.yaml")) + sorted(EXAMPLES.glob("*/*.yaml"))
)
def test_example_file_is_valid(file: Path) -> None:
    text = file.read_text()
    found = read_sweep(file) if "\ntrial:" in text else read_train(file)
    assert found is not None
