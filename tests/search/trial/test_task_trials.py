"""A trial of each task, from the sweep file to its export measured again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.models.avod.model import AvodFpn
from sparsefront.models.checkpoint import store
from sparsefront.search.cli.main import main
from sparsefront.search.cli.measure import evaluate_export
from sparsefront.search.config.metric_names import quality
from sparsefront.search.config.strict_yaml import to_plain
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.driver.checks import read_checked
from sparsefront.search.exports.export import export
from sparsefront.search.reports.front_picture import save_front
from sparsefront.search.runs.front import load_front
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial


def test_map_trial_is_exported_and_measured_the_same(
    map_sweep: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """A trial, its front, its export and the export measured again; and the verb evaluate."""
    sweep = read_checked(write_yaml(map_sweep))
    metrics = check_path(sweep, write_yaml(map_sweep), tmp_path)
    assert quality(metrics) == ["mIoU"]
    frames = ["--data", map_sweep["trial"]["val"]["root"], "--version", "v1.0-procedural"]
    trained = ["--model", "bevfusion-small", "--checkpoint", map_sweep["trial"]["checkpoint"]]
    capsys.readouterr()
    command = ["evaluate", *trained, *frames, "--split", "procedural_val", "--json"]
    assert main(command) == 0
    assert quality(json.loads(capsys.readouterr().out)["metrics"]) == ["mIoU"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| mIoU | GFLOPs |" in report and "| class | IoU |" in report
    assert "| walkway | 0." in report


@pytest.mark.parametrize("part", ["train", "val"])
def test_map_model_without_maps_is_refused(
    map_sweep: dict[str, Any], write_yaml: Any, tiny_root: Path, part: str
) -> None:
    """The data have none, or they are not asked for."""
    map_sweep["trial"][part]["root"] = str(tiny_root)
    with pytest.raises(InputError, match=rf"field trial.{part}: .*maps/expansion/.*json"):
        read_checked(write_yaml(map_sweep))
    map_sweep["trial"][part]["maps"] = False
    with pytest.raises(InputError, match=rf"field trial.{part}.maps: .* predicts a map: true$"):
        read_sweep(write_yaml(map_sweep))


def check_path(sweep: Sweep, file: Path, tmp_path: Path) -> dict[str, float]:
    """Metrics of the sweep's own trial, the same from its export; front and pictures are drawn."""
    outcome = run_trial(sweep.trial)
    assert set(outcome.result.metrics) == set(sweep.trial.measured())
    run = RunFolder(runs=tmp_path, name=sweep.name)
    run.path.mkdir()
    run.sweep_file.write_bytes(file.read_bytes())
    write_trial(run, 0, outcome)
    front = load_front(sweep.name, tmp_path)
    for objective in front.objectives:
        assert objective.name in front.table().splitlines()[0]
    save_front(front, tmp_path / "front.html")
    folder = export(sweep.name, tmp_path, "trial:0", tmp_path / "out")
    again = evaluate_export(folder)
    assert again["metrics"] == outcome.result.metrics
    assert again["per_class"] == outcome.result.per_class
    return outcome.result.metrics


@pytest.mark.long
def test_tracking_trial_is_exported_and_measured_the_same(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """The same path with a tracker, one of whose fields is searched."""
    sweep_data["trial"]["tracker"] = {"name": "greedy_velocity"}
    sweep_data["space"]["tracker.max_age"] = {"low": 0, "high": 5}
    sweep_data["objectives"] = ["AMOTA", "AMOTP", "mAP", "GFLOPs"]
    file = write_yaml(sweep_data)
    sweep = read_checked(file)
    metrics = check_path(sweep, file, tmp_path)
    assert quality(metrics) == ["mAP", "NDS", "AMOTA", "AMOTP"]
    assert 0 <= metrics["AMOTA"] <= 1 and 0 <= metrics["AMOTP"] <= 2
    plain_trial = run_trial(replace(sweep.trial, tracker=None)).result.metrics
    assert plain_trial == {name: metrics[name] for name in plain_trial}
    assert "| class | AP | AMOTA |" in (tmp_path / "out" / "report.md").read_text()


@pytest.fixture
def kitti_sweep(sweep_data: dict[str, Any], kitti_root: Path, tmp_path: Path) -> dict[str, Any]:
    """A sweep of an untrained tiny AVOD-FPN over one synthetic frame."""
    spec = replace(AvodFpn().tiny(), ground=replace(AvodFpn().tiny().ground, length=24.0))
    checkpoint = tmp_path / "avod.safetensors"
    torch.manual_seed(0)
    model = asdict(spec)
    store.save(checkpoint, build(spec), {"model": json.dumps(model)})
    data = {"kitti_root": str(kitti_root)}
    sweep_data["trial"] |= {
        "model": to_plain(model), "checkpoint": str(checkpoint), "train": data, "val": data,
        "image": {"height": 48, "width": 112},
    }  # fmt: skip
    sweep_data["trial"]["fine_tune"]["batch_size"] = 1
    del sweep_data["space"]["allocation.per_stage.fusion.decoder"]
    sweep_data["objectives"] = ["AP3D", "APBEV", "AP2D", "AOS", "GFLOPs"]
    return sweep_data


@pytest.mark.long
def test_kitti_trial_is_exported_and_measured_the_same(
    kitti_sweep: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """The same path on KITTI, and the verbs that take --format kitti."""
    file = write_yaml(kitti_sweep)
    sweep = read_checked(file)
    metrics = check_path(sweep, file, tmp_path)
    assert quality(metrics) == ["AP3D", "APBEV", "AP2D", "AOS"]
    root = kitti_sweep["trial"]["val"]["kitti_root"]
    trained = ["--model", "avod-fpn", "--checkpoint", kitti_sweep["trial"]["checkpoint"]]
    capsys.readouterr()
    for verb in (["evaluate", *trained], ["cost", *trained], ["scenes", "info", root]):
        data = [] if verb[0] == "scenes" else ["--data", root]
        assert main([*verb, *data, "--format", "kitti", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        if verb[0] == "evaluate":
            assert quality(answer["metrics"]) == ["AP3D", "APBEV", "AP2D", "AOS"]
            assert "AOS.cyclist" in answer["per_class"]
        if verb[0] == "scenes":
            assert (answer["frames"], answer["car"]) == (1, 1)
