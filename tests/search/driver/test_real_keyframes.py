"""The example sweep over real keyframes: training, sweep, front, on real images and points."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.search.cli.main import main
from tests.helpers import paths

DATA = Path(os.environ.get("SPARSEFRONT_TEST_DATA", paths.CHECKOUT.parent / "shared" / "data"))
ROOT = DATA / "nuscenes"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not ROOT.is_dir(), reason=f"no real keyframes in {ROOT}; set SPARSEFRONT_TEST_DATA"
    ),
]


def test_examples_train_and_sweep_on_real_keyframes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_yaml: Any, capsys: Any
) -> None:
    """The two example files, with fewer steps and trials."""
    monkeypatch.setenv("NUSCENES_ROOT", str(ROOT))
    training = yaml.safe_load((paths.CHECKOUT / "examples" / "train_keyframes.yaml").read_text())
    training["steps"] = 4
    training["init"] = str(paths.CHECKOUT / training["init"])
    checkpoint = tmp_path / "keyframes.safetensors"
    assert main(["train", str(write_yaml(training, "train.yaml")), "--out", str(checkpoint)]) == 0

    sweep = yaml.safe_load((paths.CHECKOUT / "examples" / "nuscenes_keyframes.yaml").read_text())
    sweep["trial"]["checkpoint"] = str(checkpoint)
    sweep["trial"]["fine_tune"]["steps"] = 2
    out = str(tmp_path / "runs")
    assert main(["sweep", str(write_yaml(sweep)), "--trials", "2", "--runs", out]) == 0
    capsys.readouterr()
    assert main(["front", "nuscenes-keyframes", "--json", "--runs", out]) == 0
    front = json.loads(capsys.readouterr().out)
    assert len(front["points"]) + len(front["others"]) == 2
    assert all(p["metrics"]["GFLOPs"] > 0 for p in front["points"])
