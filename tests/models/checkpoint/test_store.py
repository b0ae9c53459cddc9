"""Checkpoints: strict, atomic, never unpickled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.models.checkpoint.store import load, load_into, save


def test_saved_model_loads_back(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    save(tmp_path / "a.safetensors", model, {"model": "{}"})
    state, metadata = load(tmp_path / "a.safetensors")
    assert metadata == {"model": "{}"}
    other = nn.Linear(3, 2)
    load_into(other, state, "a")
    assert torch.equal(other.weight, model.weight)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, nn.Linear(3, 2), {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="not a whole safetensors file") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load(path)


def test_other_model_names_the_first_difference() -> None:
    with pytest.raises(InputError, match=r"weight has shape \[2, 4\], the model \[2, 3\]"):
        load_into(nn.Linear(3, 2), nn.Linear(4, 2).state_dict(), "x")
    with pytest.raises(InputError, match="bias is missing"):
        load_into(nn.Linear(3, 2), nn.Linear(3, 2, bias=False).state_dict(), "x")
