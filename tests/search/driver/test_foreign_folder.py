"""Sweeps that start in a folder of somebody's own code, whose packages have our folders' names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMES = ("models", "search", "scenes", "pruning", "utils", "files", "tests", "benchmarks")


@pytest.fixture
def project(tmp_path: Path, sweep_data: dict[str, Any], write_yaml: Any) -> Path:
    """A folder with packages of its own and a sweep of two trials."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"OWNER = 'the user, {name}'\n")
    write_yaml({**sweep_data, "name": "mine", "trials": 2})
    return tmp_path


def sparsefront(project: Path, *words: str, on_path: bool) -> str:
    """What a verb prints; run as the installed program is."""
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    if on_path:
        environment["PYTHONPATH"] = str(project)
    program = Path(sys.executable).parent / "sparsefront"
    done = subprocess.run(
        [program, *words], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("on_path", [False, True])
def test_whole_job_works_beside_packages_of_our_names(project: Path, on_path: bool) -> None:
    assert "ok, 2 trials" in sparsefront(project, "check", "sweep.yaml", on_path=on_path)
    table = sparsefront(project, "sweep", "sweep.yaml", on_path=on_path)
    assert "of 2 trials on the front" in table
    assert table == sparsefront(project, "resume", "mine", on_path=on_path)
    front = json.loads(sparsefront(project, "front", "mine", "--json", on_path=on_path))
    pick = f"trial:{front['knee']}"
    sparsefront(project, "export", "mine", "--pick", pick, "--out", "out", on_path=on_path)
    again = json.loads(sparsefront(project, "evaluate", "out", "--json", on_path=on_path))
    knee = next(p for p in front["points"] if p["trial"] == front["knee"])
    assert again["metrics"] == knee["metrics"]


def test_own_packages_and_ours_are_usable_in_one_process(project: Path) -> None:
    code = (
        "import models, search, sparsefront, sparsefront.models; "
        "print(models.OWNER, '|', search.OWNER, '|', 'bevfusion-small' in sparsefront.models.NAMES)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "the user, models | the user, search | True"


def test_nothing_but_sparsefront_becomes_importable(tmp_path: Path) -> None:
    for name in ("models", "search", "scenes", "pruning", "benchmarks"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert f"No module named '{name}'" in done.stderr
