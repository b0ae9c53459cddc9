"""The example scripts run as they are; the example sweep files are valid."""

from __future__ import annotations

import json
import shutil
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


OWN = ("digits", "own_model")


@pytest.mark.parametrize(
    "file",
    sorted(EXAMPLES.glob("*.yaml"))
    + sorted(f for f in EXAMPLES.glob("*/*.yaml") if f.parent.name not in OWN),
)
def test_example_file_is_valid(file: Path) -> None:
    text = file.read_text()
    found = read_sweep(file) if "\ntrial:" in text else read_train(file)
    assert found is not None


@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_example_of_ones_own_model(name: str, tmp_path: Path) -> None:
    """In a copy elsewhere, as its first lines say: trained, swept, exported, evaluated, used."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("runs", "*.pt"))

    def run(*words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    verb = str(Path(sys.executable).parent / "sparsefront")
    run(sys.executable, "train.py", *(["150"] if name == "own_model" else []))
    assert "sweep.yaml: ok" in run(verb, "check", "sweep.yaml")
    table = run(verb, "sweep", "sweep.yaml", "--name", "own", "--trials", "3")
    assert "of 3 trials on the front" in table
    run(verb, "export", "own", "--pick", "knee", "--out", "knee")
    manifest = json.loads((folder / "knee" / "manifest.json").read_text())
    again = json.loads(run(verb, "evaluate", "knee", "--json"))["metrics"]
    timed = ("latency_ms", "latency_ms_dense")
    assert {n: v for n, v in again.items() if n not in timed} == {
        n: v for n, v in manifest["metrics"].items() if n not in timed
    }
    if (folder / "use.py").is_file():
        assert " m\n" in run(sys.executable, "use.py", "knee")
