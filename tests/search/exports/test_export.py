"""Exported folders: what is in them, that they are whole, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.files.atomic import read_json
from sparsefront.files.tensors import read_tensors
from sparsefront.pruning.weights import prunable_weights
from sparsefront.search.cli.main import main
from sparsefront.search.cli.measure import load_model
from sparsefront.search.runs.run_folder import RunFolder


def test_manifest_has_sizes_and_every_file(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(manifest["sha256"]) == files - {"manifest.json"}
    assert manifest["size"]["GMACs"]["after"] < manifest["size"]["GMACs"]["before"]
    weights = folder / "weights.safetensors"
    assert manifest["bytes"][weights.name] == weights.stat().st_size
    model, image = load_model("bevfusion-small", weights)
    assert (image.height, image.width) == (32, 64)
    assert set(prunable_weights(model)) == set(read_tensors(folder / "masks.safetensors"))


@pytest.mark.parametrize("name", ["masks.safetensors", "allocation.json", "front.png"])
def test_changed_file_is_refused_by_name(folder: Path, capsys: Any, name: str) -> None:
    with open(folder / name, "ab") as file:
        file.write(b" ")
    assert main(["evaluate", str(folder)]) == 2
    said = capsys.readouterr().err
    assert f"{folder / name}: missing or changed" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("pick", "said"),
    [
        ("trial:7", "sweep 'one' has no such trial; finished trials: 0"),
        ("trial:1", "the trial failed: ValueError: nothing left; finished trials: 0"),
        ("trial:2", "the trial was stopped before full fidelity: dominated; finished trials: 0"),
        ("max:mAP,GFLOPs<=0", "no point of the front fits; on the front GFLOPs is 0.0612"),
        ("max:mAP,speed<=0", "no metric 'speed'; allowed: mAP"),
    ],
)
def test_pick_that_fits_nothing_is_refused(
    exported_run: RunFolder, tmp_path: Path, capsys: Any, pick: str, said: str
) -> None:
    words = ["--runs", str(exported_run.runs), "--out", str(tmp_path / "out")]
    assert main(["export", "one", "--pick", pick, *words]) == 2
    error = capsys.readouterr().err
    assert f"--pick: value {pick!r}: {said}" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "said"),
    [("original", "model 'bevfusion-small' is of no other code base; allowed for mit_*")],
)
def test_format_that_the_model_cannot_have_is_refused(
    exported_run: RunFolder, tmp_path: Path, capsys: Any, format: str, said: str
) -> None:
    words = ["--runs", str(exported_run.runs), "--out", str(tmp_path / "out"), "--format", format]
    assert main(["export", "one", "--pick", "knee", *words]) == 2
    assert f"--format: value {format!r}: {said}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_refused(
    exported_run: RunFolder, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    words = ["--runs", str(exported_run.runs), "--out", str(out)]
    assert main(["export", "one", "--pick", "knee", *words]) == 2
    error = capsys.readouterr().err
    assert f"--out: value {str(out)!r}: " in error and "can be written" in error
