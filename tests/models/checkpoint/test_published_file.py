"""Published checkpoints: names and layout, strict loading, one line for whatever does not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsefront.errors import InputError
from sparsefront.models import NAMES, build
from sparsefront.models.checkpoint import published_file
from sparsefront.models.checkpoint.dialect import published_entries
from sparsefront.models.checkpoint.dialects import MIT
from sparsefront.models.checkpoint.rule import weights_by_rule
from sparsefront.models.mit.catalogue import FusionDetectorMIT
from sparsefront.models.mit.model import MitBEVFusion
from tests.helpers import paths

REFERENCE = paths.REFERENCE


@pytest.fixture(scope="module")
def model() -> MitBEVFusion:
    torch.manual_seed(0)
    return MitBEVFusion(FusionDetectorMIT().tiny())


@pytest.fixture
def state(model: MitBEVFusion) -> dict[str, Tensor]:
    """As the original code would save it: every entry, constants and counters too."""
    entries = published_entries(model, MIT)
    return {key: entry.tensor.clone() for key, entry in entries.items()}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no list of published keys here")
@pytest.mark.parametrize(
    ("name", "parameters"), [("mit_bevfusion-det", 39_803_214), ("mit_lidar-only-det", 8_306_030)]
)
def test_names_shapes_types_and_kinds_are_the_published_ones(name: str, parameters: int) -> None:
    wanted = json.loads((REFERENCE / "keys" / f"{name}.json").read_text())
    model = build(NAMES[name]())
    assert isinstance(model, MitBEVFusion)
    found = published_entries(model, MIT)
    assert sorted(found) == sorted(wanted)
    for key, entry in found.items():
        assert list(entry.tensor.shape) == wanted[key]["shape"], key
        assert str(entry.tensor.dtype).removeprefix("torch.") == wanted[key]["dtype"], key
        assert entry.kind == wanted[key]["kind"], key
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters


def test_loading_restores_every_weight(model: MitBEVFusion, state: dict[str, Tensor]) -> None:
    torch.manual_seed(1)
    other = MitBEVFusion(FusionDetectorMIT().tiny())
    matched = published_file.load_into(other, MIT, state, "file")
    assert matched.turned == 21
    assert matched.absent == ()
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_weights_by_rule_fit_the_model(model: MitBEVFusion) -> None:
    weights = weights_by_rule(published_entries(model, MIT))
    matched = published_file.load_into(model, MIT, weights, "rule")
    assert len(matched.absent) == sum(k.endswith("num_batches_tracked") for k in model.state_dict())


def save(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def test_wrapped_prefixed_and_bare_files_are_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Wrapped, with a module. prefix, or bare."""
    wrapped = {"meta": {"epoch": 6}, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    for content in (wrapped, {"model": state}, state):
        assert published_file.read(save(content, tmp_path / "a.pth")).keys() == state.keys()


class Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch unpickled",)


def test_unsafe_and_damaged_files_are_refused_in_one_line(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    whole = save(state, tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    save({"state_dict": Code()}, tmp_path / "code.pth")
    save([1, 2], tmp_path / "list.pth")
    for name in ("cut.pth", "code.pth", "list.pth", "absent.pth"):
        with pytest.raises(InputError, match="checkpoint: ") as caught:
            published_file.read(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not Path("unpickled").exists()


CHANGES: list[tuple[Callable[[dict[str, Tensor]], object], str]] = [
    (lambda s: s.pop("fuser.0.weight"), "fuser.0.weight is missing"),
    (lambda s: s.update(extra=torch.zeros(1)), "extra is not in the model"),
    (lambda s: s.update({"fuser.0.weight": torch.zeros(1)}), "fuser.0.weight has shape"),
    (lambda s: s["encoders.camera.vtransform.dx"].add_(0.1), "another configuration"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said for _, said in CHANGES])
def test_checkpoint_of_another_model_changes_nothing(
    model: MitBEVFusion, state: dict[str, Tensor], change: Any, said: str
) -> None:
    """Nothing is loaded, and one line says why."""
    change(state)
    state["fuser.1.bias"] = state["fuser.1.bias"] + 5
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=said) as caught:
        published_file.load_into(model, MIT, state, "file.pth")
    assert "file.pth is of another model" in str(caught.value)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
