"""The faults that the stand-in was built to see, put back one by one: each check must fail."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sparsefront.models import build, precision
from sparsefront.models.camera.bevdepth import BevDepth
from sparsefront.models.pku.model import HeightLift
from sparsefront.pruning import crossprune, preserved
from sparsefront.pruning.channels import flow
from sparsefront.pruning.criteria import SNIP, Fisher, SynFlow, Taylor, synflow
from sparsefront.search.trial import checkpoint
from tests.fake_device import test_models, test_trials
from tests.fake_device.accelerator import NAME
from tests.helpers.catalogue import batches_for, smallest

Case = Callable[[str], tuple[Any, list[Any], list[Any]]]


@pytest.fixture
def case(tiny_root: Path, tiny_model: dict[str, Any]) -> Case:
    """Model name -> the model, its batches on the CPU and on the stand-in."""

    def made(name: str) -> tuple[Any, list[Any], list[Any]]:
        torch.manual_seed(0)
        batches = batches_for(tiny_root, name, tiny_model)
        return build(smallest(name, tiny_model)).eval(), batches, [b.to(NAME) for b in batches]

    return made


@pytest.mark.parametrize("criterion", [SNIP(), Taylor(), Fisher()], ids=lambda c: c.name)
@pytest.mark.parametrize("name", ["bevfusion-small", "mit_bevfusion-det"])
def test_spconv_in_eval_mode_is_seen(
    case: Case, monkeypatch: pytest.MonkeyPatch, criterion: Any, name: str
) -> None:
    monkeypatch.setattr(preserved, "eval_with_gradients", nn.Module.eval)
    with pytest.raises(ValueError, match=r"every score of lidar"):
        test_models.test_scores_equal_those_of_the_cpu(criterion, name, *case(name))


def test_crossprune_with_spconv_in_eval_mode_is_seen(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossprune, "eval_with_gradients", nn.Module.eval)
    model, _, there = case("bevfusion-small")
    with pytest.raises(ValueError, match=r"no gradient reaches lidar\.encoder"):
        test_models.test_crossprune_finds_a_mask("bevfusion-small", model, there)


def test_mask_on_another_device_is_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def project(values: Any, mask: Any) -> Any:
        return {n: value.masked_fill(~mask.by_weight[n], 0) for n, value in values.items()}

    monkeypatch.setattr(crossprune, "_project", project)
    model, _, there = case("bevfusion-small")
    with pytest.raises(RuntimeError, match="on the same device"):
        test_models.test_crossprune_finds_a_mask("bevfusion-small", model, there)


def test_labels_on_another_device_are_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = flow.Flow._map

    def mapped(self: Any, inputs: Any) -> Any:
        if isinstance(inputs, torch.Tensor) and not inputs.is_floating_point():
            return inputs
        return plain(self, inputs)

    monkeypatch.setattr(flow.Flow, "_map", mapped)
    with pytest.raises(RuntimeError, match="on the same device"):
        test_models.test_channels_go_as_on_the_cpu(*case("bevfusion-small"))


@pytest.mark.parametrize("name", ["bevfusion-small", "pku_bevf_tf"])
def test_geometry_under_autocast_is_seen(
    case: Case, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(precision.torch, "is_autocast_enabled", lambda kind: False)
    model, _, there = case(name)
    with pytest.raises((RuntimeError, KeyError, AssertionError)):
        test_models.test_step_under_bfloat16_is_finite(model, there)


def test_product_of_matrices_under_autocast_is_seen(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PKU's plane: a point moves by centimetres, and a twentieth of them changes cell."""
    plain = HeightLift.lidar_to_plane.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(HeightLift, "lidar_to_plane", plain)
    model, _, there = case("pku_bevf_tf")
    with pytest.raises(AssertionError):
        test_models.test_geometry_is_the_same_under_bfloat16(
            "pku_bevf_tf", model, there, monkeypatch
        )


def test_loss_that_is_unsafe_under_autocast_is_seen(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = BevDepth.depth_loss.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(BevDepth, "depth_loss", plain)
    model, _, there = case("mit_camera-radar-resnet50-dlss-det")
    with pytest.raises(RuntimeError, match="unsafe to autocast"):
        test_models.test_step_under_bfloat16_is_finite(model, there)


def test_sum_on_another_device_is_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = synflow.output_sum

    def summed(output: Any) -> Any:
        if torch.is_tensor(output) and not output.is_floating_point():
            return torch.zeros((), dtype=torch.float64)
        if torch.is_tensor(output):
            return plain(output)
        values = output.values() if isinstance(output, dict) else output
        return torch.stack([summed(value) for value in values]).sum()

    monkeypatch.setattr(synflow, "output_sum", summed)
    criterion = SynFlow(num_iterations=1, sparsity=0.3)
    with pytest.raises(RuntimeError, match="on the same device"):
        test_models.test_scores_equal_those_of_the_cpu(
            criterion, "mit_bevfusion-det", *case("mit_bevfusion-det")
        )


def test_random_state_that_is_not_kept_is_seen(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "random_state", lambda device: None)
    spec = test_trials.spec.__wrapped__(copy.deepcopy(sweep_data), write_yaml)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError):
        test_trials.test_resumed_trial_is_the_same_bit_for_bit(spec, tmp_path, monkeypatch)
