"""An allocation applied to another checkpoint, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.files.atomic import read_json
from sparsefront.models.checkpoint import store
from sparsefront.search.cli.main import main
from sparsefront.search.exports.export import load_export
from sparsefront.search.exports.pruned import read_pruned
from sparsefront.search.runs.allocation_file import read_allocation


def test_apply_removes_as_many_weights_of_another_checkpoint(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    """Counts match layer by layer; what stays is the checkpoint's own largest."""
    state, metadata = store.load(tiny_checkpoint)
    torch.manual_seed(1)
    other = {
        k: v + 0.1 * torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()
    }
    store.save(tmp_path / "other.safetensors", other, metadata)
    words = [
        "--checkpoint",
        str(tmp_path / "other.safetensors"),
        "--out",
        str(tmp_path / "applied"),
    ]
    assert main(["apply", str(folder / "allocation.json"), *words]) == 0
    assert "removed by magnitude" in capsys.readouterr().out
    pruned, trial = read_pruned(tmp_path / "applied"), load_export(folder)
    for name, kept in pruned.weights.mask.items():
        assert int(kept.sum()) == int(trial.weights.mask[name].sum()), name
        assert torch.equal(pruned.weights.state[name], other[name] * kept)
        if not kept.all():
            assert other[name][kept].abs().min() >= other[name][~kept].abs().max()
    again = read_allocation(tmp_path / "applied" / "allocation.json")
    assert again.per_layer == read_allocation(folder / "allocation.json").per_layer
    assert main(["evaluate", str(tmp_path / "applied")]) == 2
    assert "no trial measured it; allowed: `sparsefront evaluate --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({"schema_version": 1}, [], "field schema_version: value 1; allowed: 3"),
        ({"per_modality": {"camera": 2}}, [], "per_modality.camera"),
        ({"colour": 1}, [], "colour"),
        ({}, ["--criterion", "snip"], "--data: criterion 'snip' scores on frames; allowed: --data"),
        ({}, ["--criterion", "snap"], "--criterion"),
        (
            {"per_layer": {"camera.x.weight": {"weights": 4, "removed": 0.5}}}, [],
            "field per_layer.camera.x.weight: 4 weights, model 'bevfusion-small' of the checkpoint "
            "has no such layer (and 41 more); allowed: an allocation of the checkpoint's",
        ),
    ],
)  # fmt: skip
def test_allocation_that_does_not_fit_is_refused(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: Any, change: dict[str, Any],
    words: list[str], said: str,
) -> None:  # fmt: skip
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(read_json(folder / "allocation.json") | change))
    place = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "applied")]
    assert main(["apply", str(file), *place, *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "applied").exists()


def test_criterion_that_reads_data_is_applied(
    folder: Path, tiny_checkpoint: Path, tiny_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "snip.safetensors"
    words = ["--checkpoint", str(tiny_checkpoint), "--out", str(out), "--criterion", "snip"]
    assert main(["apply", str(folder / "allocation.json"), *words, "--data", str(tiny_root)]) == 0
    mask = load_export(folder).weights.mask
    for name, kept in mask.items():
        assert int((store.load(out)[0][name] != 0).sum()) == int(kept.sum()), name
