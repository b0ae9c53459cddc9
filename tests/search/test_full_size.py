"""A whole sweep of the published BEVFusion at full size, on a CPU: search, export, evaluate, and
the file that the original code base reads.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sparsefront.models import build
from sparsefront.models.checkpoint import published_file, store
from sparsefront.models.checkpoint.dialect import published_entries
from sparsefront.models.checkpoint.dialects import MIT
from sparsefront.models.checkpoint.rule import weights_by_rule
from sparsefront.models.mit.catalogue import FusionDetectorMIT
from sparsefront.search.cli.main import main
from tests.helpers import paths

DATA = Path(os.environ.get("SPARSEFRONT_TEST_DATA", paths.CHECKOUT.parent / "shared" / "data"))
ROOT = DATA / "nuscenes"

pytestmark = [
    pytest.mark.faults,  # with the long ones: minutes, and 12 GB
    pytest.mark.long,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real keyframes in {ROOT}"),
]


def test_published_bevfusion_is_swept_exported_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_yaml: Any, capsys: Any
) -> None:
    """examples/bevfusion.yaml with two keyframes, weights by rule and one step; single weights in
    one trial, whole channels in the other.
    """
    monkeypatch.setenv("NUSCENES_ROOT", str(ROOT))
    checkpoint = tmp_path / "rule.safetensors"
    model = build(FusionDetectorMIT())
    published_file.load_into(model, MIT, weights_by_rule(published_entries(model, MIT)), "rule")
    store.save(checkpoint, model, {})
    runs = str(tmp_path / "runs")
    assert main(["sweep", str(write_yaml(small(checkpoint))), "--runs", runs]) == 0
    capsys.readouterr()
    assert main(["front", "bevfusion", "--json", "--runs", runs]) == 0
    front = json.loads(capsys.readouterr().out)
    trials = sorted([*front["points"], *front["others"]], key=lambda point: point["trial"])
    assert len(trials) == 2
    for trial in trials:
        out = tmp_path / f"export-{trial['trial']}"
        pick = ["--pick", f"trial:{trial['trial']}", "--runs", runs, "--out", str(out)]
        channels = trial["metrics"]["parameters"] < trial["metrics"]["parameters_dense"]
        formats = [] if channels else ["--format", "original"]
        assert main(["export", "bevfusion", *pick, *formats]) == 0
        capsys.readouterr()
        assert main(["evaluate", str(out), "--json"]) == 0
        again = json.loads(capsys.readouterr().out)["metrics"]
        assert all(again[n] == trial["metrics"][n] for n in ("mAP", "NDS", "GFLOPs", "parameters"))
        if not channels:
            (file,) = out.rglob("*.pth")
            fresh = build(FusionDetectorMIT())
            published_file.load_into(fresh, MIT, published_file.read(file), file)
            state = store.load(out / "weights.safetensors")[0]
            assert all(torch.equal(t, state[n]) for n, t in fresh.state_dict().items())
    kinds = {t["metrics"]["parameters"] < t["metrics"]["parameters_dense"] for t in trials}
    assert kinds == {True, False}


def small(checkpoint: Path) -> dict[str, Any]:
    """The example, for two frames on a CPU."""
    text = (paths.CHECKOUT / "examples" / "bevfusion.yaml").read_text()
    sweep: dict[str, Any] = yaml.safe_load(text)
    frames = {"root": "$NUSCENES_ROOT", "version": "v1.0-mini", "split": "all", "num_sweeps": 0}
    trial = sweep["trial"]
    trial.update(
        checkpoint=str(checkpoint), train=frames, val=frames, score_batches=1, cost_frames=1,
        norm_frames=2, repair={"frames": 2}, threads=2, device="cpu", criterion={"name": "fisher"},
    )  # fmt: skip
    trial["allocation"] = {"per_modality": {"camera": 0.8, "lidar": 0.8, "fusion": 0.8}}
    trial["fine_tune"].update(steps=1, batch_size=1, warmup=0)
    sweep["space"] = {"allocation.pattern": {"choices": ["unstructured", "channel"]}}
    sweep.update(trials=2, sampler="random", gpus_per_trial=0, cpus_per_trial=2)
    return sweep
