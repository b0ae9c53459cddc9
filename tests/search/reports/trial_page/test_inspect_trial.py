"""A trial looked at: numbers of its layers, boxes in its cameras, the folder that is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsefront.pruning.scores import ImportanceScores
from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.reports.trial_page.detection_picture import edges_in_camera
from sparsefront.search.reports.trial_page.layers import layer_rows
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial

PNG = b"\x89PNG"


def test_score_mass_removed_by_hand() -> None:
    """Of scores 1, 2, 3, 4 the first two go: 3 of 10; negative scores weigh nothing."""
    kept = torch.tensor([False, False, True, True])
    scores = ImportanceScores({
        "camera.a.weight": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "lidar.b.weight": torch.tensor([-1.0, 2.0, 2.0, -3.0]),
        "lidar.c.weight": torch.zeros(4),
    })  # fmt: skip
    row = {"macs": 2.0, "macs_dense": 4.0}
    cost = {"per_layer": dict.fromkeys(scores.by_weight, row)}
    rows = layer_rows(scores, dict.fromkeys(scores.by_weight, kept), cost)
    assert [r.mass_removed for r in rows] == [pytest.approx(0.3), 0.5, None]
    assert [r.removed for r in rows] == [0.5, 0.5, 0.5]
    assert [(r.modality, r.stage) for r in rows[:2]] == [
        ("camera", "camera.a"),
        ("lidar", "lidar.b"),
    ]
    assert (rows[0].macs, rows[0].macs_dense) == (2.0, 4.0)


def test_edges_are_cut_before_the_camera() -> None:
    """A camera that looks along z: a cube around it loses what lies behind."""
    cube = np.array([[[x, y, z] for z in (-2.0, 2.0) for x, y in
                      ((1, 1), (-1, 1), (-1, -1), (1, -1))]])  # fmt: skip
    edges = list(edges_in_camera(cube, np.eye(4)))
    assert len(edges) == 4 + 4  # the far face, and the edges that come towards the camera
    ends = np.abs(np.concatenate(edges))
    assert set(np.round(ends.ravel(), 6)) == {0.5, 2.0}  # 1 / 2 m, and 1 / 0.5 m where cut


@pytest.fixture
def runs(sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path) -> Path:
    """A sweep of one finished trial."""
    path = write_yaml(sweep_data)
    run = RunFolder(runs=tmp_path / "runs", name="one")
    write_trial(run, 0, run_trial(read_sweep(path).trial))
    run.sweep_file.write_bytes(path.read_bytes())
    return run.runs


def test_inspect_writes_the_whole_page(runs: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "page"
    options = ["--runs", str(runs), "--out", str(out), "--samples", "1", "--score", "0"]
    assert main(["inspect", "one", *options]) == 0
    assert capsys.readouterr().out.strip() == str(out / "index.html")
    names = sorted(re.sub("-.*", "", p.stem) for p in out.iterdir())
    assert names == ["detections", "features", "index", "layers", "layers"]
    assert all(p.read_bytes().startswith(PNG) for p in out.glob("*.png"))
    page = (out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page
    rows = json.loads((out / "layers.json").read_text())
    assert {row["modality"] for row in rows} == {"camera", "lidar", "fusion"}
    assert all(row["weight"] in page for row in rows)
    assert main(["inspect", "one", *options]) == 2
    assert "allowed: a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "9"], "--samples: value '9'; allowed: a number from 0 to 1, or the token"),
        (["--score", "2"], "--score: value 2; allowed: 0..1"),
        (["--pick", "trial:5"], "--pick: value 'trial:5'; finished trials: 0"),
    ],
)
def test_wrong_input_is_told_and_nothing_written(
    runs: Path, tmp_path: Path, capsys: Any, options: list[str], message: str
) -> None:
    out = tmp_path / "page"
    assert main(["inspect", "one", "--runs", str(runs), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*page*"))


@pytest.mark.long
def test_map_model_has_no_boxes(
    map_sweep: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    path = write_yaml(map_sweep)
    run = RunFolder(runs=tmp_path / "runs", name="map")
    write_trial(run, 0, run_trial(read_sweep(path).trial))
    run.sweep_file.write_bytes(path.read_bytes())
    out = tmp_path / "page"
    assert main(["inspect", "map", "--runs", str(run.runs), "--out", str(out)]) == 0
    assert not list(out.glob("detections*"))
    assert len(list(out.glob("features*"))) == 1
