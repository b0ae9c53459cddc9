"""Fusers: what each computes, what it starts as, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sparsefront.errors import InputError
from sparsefront.models import NAMES, BEVFusionMIT, BEVFusionSmall, build
from sparsefront.models.checkpoint import store
from sparsefront.models.checkpoint.other_fuser import PREFIX, convert_fuser
from sparsefront.models.fuser import (
    AddFuser,
    ConcatConv,
    ConvFuser,
    Fuser,
    FuserKind,
    GatedFuser,
    build_fuser,
)
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.batch import SensorBatch
from tests.helpers import paths

EXAMPLES = paths.CHECKOUT / "examples"
CHANNELS = {"camera": 3, "lidar": 5}
KINDS: list[FuserKind] = ["concat", "add", "gated"]
CONCATS = [ConvFuser, ConcatConv]


def maps(size: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    camera, lidar = (torch.randn(2, c, size, size, generator=random) for c in CHANNELS.values())
    return camera, lidar


def trained(concat: Any = ConvFuser) -> Fuser:
    """A concat fuser whose norm is not the identity."""
    torch.manual_seed(0)
    fuser = build_fuser("concat", CHANNELS, 4, concat)
    for _ in range(3):
        fuser(*maps())
    return fuser.eval()


@pytest.mark.parametrize("concat", CONCATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_fuser_weight_gets_a_gradient(kind: FuserKind, concat: Any) -> None:
    """A map a frame; the gradient reaches every weight, a gate's zeros too."""
    torch.manual_seed(0)
    fuser = build_fuser(kind, CHANNELS, 4, concat)
    found = fuser(*maps())
    assert found.shape == (2, 4, 6, 6)
    assert (found >= 0).all()
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fuser.parameters())


@pytest.mark.parametrize("concat", CONCATS)
def test_concat_is_convolution_norm_and_relu(concat: Any) -> None:
    """Convolution over all channels, norm, ReLU: the same bits, under the names of checkpoints."""
    fuser = trained(concat)
    prefix = "conv." if concat is ConvFuser else ""
    state = {k.removeprefix(prefix): v for k, v in fuser.state_dict().items()}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert list(state) == ["0.weight", *(f"1.{name}" for name in norm)]
    summed = F.conv2d(torch.cat(maps(), 1), state["0.weight"], padding=1)
    wanted = F.batch_norm(
        summed, state["1.running_mean"], state["1.running_var"], state["1.weight"], state["1.bias"]
    )
    assert torch.equal(fuser(*maps()), wanted.relu())


@pytest.mark.parametrize("concat", CONCATS)
def test_open_gates_equal_concat(concat: Any) -> None:
    """Bit for bit: a gate of zero weights is 2 sigmoid(0) = 1. A gate at 0 hides its map."""
    joined = trained(concat)
    gated = build_fuser("gated", CHANNELS, 4, concat).eval()
    assert isinstance(gated, GatedFuser)
    gated.load_state_dict(gated.from_concat(joined.state_dict()))
    assert torch.equal(gated(*maps()), joined(*maps()))
    assert gated.gates(*maps()).shape == (2, 2, 6, 6)
    with torch.no_grad():
        gated.gate.bias[0] = -200.0  # type: ignore[index]
    camera, lidar = maps()
    assert torch.equal(gated(camera, lidar), joined(torch.zeros_like(camera), lidar))


@pytest.mark.parametrize("concat", CONCATS)
def test_projections_equal_concat_on_constant_maps(concat: Any) -> None:
    """The same as the convolution where no map varies, away from the border."""
    joined = trained(concat)
    add = build_fuser("add", CHANNELS, 4, concat).eval()
    assert isinstance(add, AddFuser)
    add.load_state_dict(add.from_concat(joined.state_dict()))
    flat = [m[:, :, :1, :1].expand(-1, -1, 6, 6) for m in maps()]
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(add(*flat)[inside], joined(*flat)[inside])
    assert add.project["camera"].weight.shape == (4, 3, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_fuser_weight_but_a_gate_is_prunable(
    tiny: BEVFusionSmall, batch: SensorBatch, kind: FuserKind
) -> None:
    """Every weight but a gate's can be pruned; every one gets a gradient."""
    torch.manual_seed(0)
    model = build(replace(tiny, fuser=kind))
    model.loss(batch).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.fusion.fuser.parameters())
    fuser = {k.removeprefix(PREFIX) for k in prunable_weights(model) if k.startswith(PREFIX)}
    prunable = {
        "concat": {"conv.0.weight"},
        "add": {"project.camera.weight", "project.lidar.weight"},
        "gated": {"join.conv.0.weight"},
    }
    assert fuser == prunable[kind]


@pytest.mark.parametrize("kind", ["add", "gated"])
def test_conversion_changes_only_the_fuser(tiny: BEVFusionSmall, kind: FuserKind) -> None:
    """All else is the checkpoint's, strictly; the same weights whatever the generator's state."""
    torch.manual_seed(0)
    state = build(tiny).state_dict()
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = build(replace(tiny, fuser=kind))
        store.load_into(model, convert_fuser(model, state, "here"), "here")
        states.append(model.state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])
        assert name.startswith(PREFIX) or torch.equal(tensor, state[name])
    again = convert_fuser(model, states[0], "here")
    assert all(torch.equal(again[name], tensor) for name, tensor in states[0].items())
    less = {k: v for k, v in state.items() if k != "camera.backbone.stem.0.weight"}
    with pytest.raises(InputError, match=r"here is of another model: camera\.backbone\.stem\.0"):
        store.load_into(model, convert_fuser(model, less, "here"), "here")


def test_a_trained_fuser_is_not_converted(tiny: BEVFusionSmall) -> None:
    gated = build(replace(tiny, fuser="gated")).state_dict()
    for kind in ("concat", "add"):
        said = f"model.fuser: value '{kind}', but checkpoint here was trained with 'gated'"
        with pytest.raises(InputError, match=f"^{said}; allowed for it: gated$"):
            convert_fuser(build(replace(tiny, fuser=kind)), gated, "here")


def test_the_demo_checkpoint_fits_every_fuser() -> None:
    """Published before there was a choice."""
    state, _ = store.load(EXAMPLES / "checkpoints" / "demo.safetensors")
    for kind in KINDS:
        model = build(BEVFusionSmall(fuser=kind))
        store.load_into(model, convert_fuser(model, state, "demo"), "demo")


@pytest.mark.parametrize(
    "name", ["mit_bevfusion-det", "mit_camera-radar-resnet50-det", "pcdet_bevfusion"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_published_checkpoints_fit_every_fuser(name: str, kind: FuserKind) -> None:
    """Named by their sensors; their checkpoints fit."""
    spec = NAMES[name]().tiny()  # type: ignore[union-attr]
    assert isinstance(spec, BEVFusionMIT)
    state = build(spec).state_dict()
    model = build(replace(spec, fuser=kind))
    store.load_into(model, convert_fuser(model, state, "here"), "here")
    if kind == "add":
        assert set(model.fusion.fuser.project) == set(model.sensors)  # type: ignore[arg-type]


def test_one_modality_fuses_nothing() -> None:
    spec = NAMES["mit_lidar-only-det"]
    assert spec(fuser="concat")  # type: ignore[call-arg]
    said = "fuser: value 'gated'; mit_lidar-only-det has one modality and fuses nothing"
    with pytest.raises(InputError, match=f"^{said}; allowed: concat$"):
        spec(fuser="gated")  # type: ignore[call-arg]
