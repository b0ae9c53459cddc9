"""The verbs that compute, on the stand-in, which is what `--device auto` means here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.search.cli.main import main
from sparsefront.search.runs.run_folder import RunFolder
from tests.fake_device.accelerator import NAME
from tests.search.conftest import exported_run

__all__ = ["exported_run"]
SAID = f"device: {NAME} (stand-in accelerator)"


@pytest.mark.parametrize("formats", [[], ["onnx", "pt2"]])
def test_export_is_evaluated_and_applied(
    exported_run: RunFolder, tiny_root: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: Any,
    formats: list[str],
) -> None:  # fmt: skip
    out, runs = tmp_path / "out", str(exported_run.runs)
    more = [word for name in formats for word in ("--format", name)]
    pick = ["export", "one", "--pick", "knee", "--runs", runs, "--out", str(out)]
    assert main([*pick, *more]) == 0
    assert (SAID in capsys.readouterr().err) == bool(formats)  # files are compared with torch there
    trial = json.loads((out / "result.json").read_text()) if (out / "result.json").is_file() else {}
    assert main(["evaluate", str(out), "--json"]) == 0
    found = capsys.readouterr()
    assert found.err.splitlines()[0] == SAID
    metrics = json.loads(found.out)["metrics"]
    assert not trial or metrics["GFLOPs"] == trial["metrics"]["GFLOPs"]
    assert main(["evaluate", str(out), "--device", "cpu", "--json"]) == 0
    found = capsys.readouterr()
    assert found.err.startswith("device: cpu")
    on_cpu = json.loads(found.out)["metrics"]
    assert metrics["mAP"] == pytest.approx(on_cpu["mAP"], abs=1e-3)
    applied = ["apply", str(out / "allocation.json"), "--checkpoint", str(tiny_checkpoint)]
    for device in ("auto", "cpu"):
        where = ["--out", str(tmp_path / device), "--data", str(tiny_root), "--device", device]
        assert main([*applied, *where, "--criterion", "taylor"]) == 0


def test_trial_cost_and_inspect(exported_run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    file, runs = str(exported_run.sweep_file), str(exported_run.runs)
    assert main(["trial", file, "--json"]) == 0
    found = capsys.readouterr()
    assert found.err.splitlines()[0] == SAID
    assert json.loads(found.out)["environment"]["device"] == "stand-in accelerator"
    assert main(["cost", "--model", "bevfusion-small", "--latency", "2"]) == 0
    found = capsys.readouterr()
    assert found.err.splitlines()[0] == SAID
    assert "on stand-in accelerator" in found.out
    inspect = ["inspect", "one", "--pick", "knee", "--runs", runs]
    assert main([*inspect, "--out", str(tmp_path / "looked")]) == 0
    assert (tmp_path / "looked" / "index.html").is_file()
    assert SAID in capsys.readouterr().err


def test_training(tiny_root: Path, tiny_model: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    frames = {"root": str(tiny_root), "version": "v1.0-procedural"}
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({
        "model": tiny_model, "data": {**frames, "split": "procedural_train"},
        "val": {**frames, "split": "procedural_val"}, "image": {"height": 32, "width": 64},
        "steps": 2, "batch_size": 1, "accumulate": 2, "checkpoint_activations": True,
        "ema": 0.5, "norm_frames": 2, "modality_dropout": 0.5, "precision": "bfloat16",
    }))  # fmt: skip
    assert main(["train", str(file), "--out", str(tmp_path / "out.safetensors")]) == 0
    assert capsys.readouterr().err.splitlines()[0] == SAID
    data = ["--data", str(tiny_root), "--version", "v1.0-procedural", "--split", "procedural_val"]
    trained = ["--model", "bevfusion-small", "--checkpoint", str(tmp_path / "out.safetensors")]
    assert main(["evaluate", *trained, *data, "--masked", "camera"]) == 0
    assert capsys.readouterr().err.splitlines()[0] == SAID
