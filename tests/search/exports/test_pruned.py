"""Pruned folders trained on: what was removed stays zero."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sparsefront.files.atomic import read_json
from sparsefront.models.checkpoint import store
from sparsefront.search.cli.main import main
from sparsefront.search.cli.measure import load_model
from sparsefront.search.evaluation.synthetic_frame import synthetic_frame
from sparsefront.search.exports.export import load_export
from sparsefront.search.exports.pruned import deployed_model, read_pruned


def test_training_from_an_export_holds_its_zeros(
    folder: Path, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    trial, out = sweep_data["trial"], tmp_path / "on.safetensors"
    data = {"model": trial["model"], "data": trial["train"], "image": trial["image"]}
    data |= {"steps": 2, "batch_size": 2, "threads": 1, "ema": 0.5, "save_every": 1}
    assert main(["train", str(write_yaml(data)), "--from", str(folder), "--out", str(out)]) == 0
    before, after = load_export(folder).weights, store.load(out)[0]
    for name, kept in before.mask.items():
        assert not after[name][~kept].any(), name
    assert any(not torch.equal(after[name], t) for name, t in before.state.items())
    data["model"] = {**trial["model"], "head_channels": 16}
    assert main(["train", str(write_yaml(data)), "--from", str(folder), "--out", str(out)]) == 2
    assert "model: differs from the one of --from in head_channels" in capsys.readouterr().err


def test_training_from_removed_channels_holds_the_smaller_model(
    folder: Path, sweep_data: dict[str, Any], write_yaml: Any, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Whole channels by the fractions asked; trained on, the smaller model still says the same."""
    data = read_json(folder / "allocation.json")
    data["requested"]["pattern"] = "channel"
    file = tmp_path / "channels.json"
    file.write_text(json.dumps(data))
    words = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "applied")]
    assert main(["apply", str(file), *words]) == 0
    pruned = read_pruned(tmp_path / "applied")
    assert pruned.weights.channels

    trial, out = sweep_data["trial"], tmp_path / "on.safetensors"
    run = {"model": trial["model"], "data": trial["train"], "image": trial["image"]}
    run |= {"steps": 2, "batch_size": 2, "threads": 1, "lr": 0.01}
    words = ["--from", str(tmp_path / "applied"), "--out", str(out)]
    assert main(["train", str(write_yaml(run)), *words]) == 0
    after = replace(pruned, weights=replace(pruned.weights, state=store.load(out)[0]))
    state = after.weights.state
    assert any(not torch.equal(state[n], t) for n, t in pruned.weights.state.items())
    full, _ = load_model("bevfusion-small", out)
    batch = synthetic_frame(pruned.image)
    with torch.no_grad():
        small = deployed_model(after, out)(batch)
        for name, value in full(batch).items():
            assert torch.allclose(small[name], value, rtol=0, atol=1e-4), name
