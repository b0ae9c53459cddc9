"""Run folders and exports of version 0.1.0 are read, resumed, exported and evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import sparsefront
from sparsefront.search.cli.main import main
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from tests.helpers import paths

WRITTEN = paths.CHECKOUT / "tests" / "data" / "version_0_1"
ROOT_THEN = "/tmp/sparsefront-0.1.0"


@pytest.fixture
def old(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The sweep, as if it had been killed in this folder."""
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    (tmp_path / "data").symlink_to(tiny_root)
    for file in (tmp_path / "runs").rglob("*"):
        if file.suffix in (".json", ".yaml", ".log"):
            file.write_text(file.read_text().replace(ROOT_THEN, str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return RunFolder(runs=tmp_path / "runs", name="killed")


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_front_shows_what_had_finished(old: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "front", "killed", "--json")
    metrics = {p["trial"]: p["metrics"] for p in (*found["points"], *found["others"])}
    assert metrics == {
        n: json.loads((WRITTEN / f"runs/killed/trials/{n}/result.json").read_text())["metrics"]
        for n in range(5)
    }


@pytest.mark.long
def test_resume_goes_on_from_the_last_rung(
    old: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {n: (old.trial_dir(n) / "result.json").read_bytes() for n in range(5)}
    rungs = json.loads((old.trial_dir(6) / "checkpoint.json").read_text())["rungs"]
    assert len(rungs) == 2
    assert main(["resume", "killed"]) == 0, capsys.readouterr().err
    assert {n: (old.trial_dir(n) / "result.json").read_bytes() for n in before} == before
    result = read_trial(old, 6).result
    assert result.intermediate_results == rungs and len(result.losses) == 30
    assert read_trial(old, 6).requested.trade_off is not None
    assert result.notes == []  # such as that the checkpoint was not readable
    capsys.readouterr()
    assert len(printed(capsys, "front", "killed", "--json")["points"]) >= 1


@pytest.mark.long
def test_trial_is_exported_and_evaluates_to_its_numbers(
    old: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "killed", "--pick", "trial:2", "--out", "exported"]) == 0
    capsys.readouterr()
    again = printed(capsys, "evaluate", "exported", "--json")
    assert again["metrics"] == read_trial(old, 2).result.metrics


@pytest.mark.long
@pytest.mark.parametrize("name", ["exported-weights", "exported-channels"])
def test_export_evaluates_to_the_same_bits(
    old: RunFolder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    again = printed(capsys, "evaluate", name, "--data", "data", "--json")
    assert again == json.loads((WRITTEN / f"{name}.json").read_text())


def test_export_is_loaded_from_python(old: RunFolder) -> None:
    found = sparsefront.load_export(Path("exported-channels"))
    small = sparsefront.load_small(Path("exported-channels"))
    assert found.weights.channels and found.weights.mask
    assert sum(p.numel() for p in small.parameters()) < 27122


def test_allocation_prunes_another_checkpoint(
    old: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["apply", "exported-weights/allocation.json", "--checkpoint", "tiny.safetensors"]
    assert main([*words, "--out", "applied"]) == 0, capsys.readouterr().err
    assert json.loads(Path("applied/allocation.json").read_text())["schema_version"] == 3
