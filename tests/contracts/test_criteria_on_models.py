"""Every criterion on every model of the catalogue: finite, repeatable, and nothing left behind."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import NAMES, build
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.removal import shrink
from sparsefront.pruning.channels.select import channel_mask
from sparsefront.pruning.criteria import (
    AlterMOMA,
    Criterion,
    Magnitude,
)
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.weights import prunable_weights
from sparsefront.scenes.batch import MapProbabilities
from sparsefront.search.config import strict_yaml
from tests.helpers.catalogue import CRITERIA, MODELS, batches_for, smallest, without_a_score


@pytest.fixture(scope="module", params=MODELS)
def name(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def batches(tiny_root: Path, name: str, tiny_model: dict[str, Any]) -> list[Any]:
    return batches_for(tiny_root, name, tiny_model)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_criterion_scores_are_finite_repeatable_and_leave_the_model(
    criterion: Criterion, name: str, batches: list[Any], tiny_model: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = build(smallest(name, tiny_model)).train()
    groups = ModalityGroups.from_model(model)
    if isinstance(criterion, AlterMOMA) and len(groups.entries) < 3:
        with pytest.raises(InputError, match="at least two modalities"):
            criterion.scores(model, groups, batches, lambda m, b: m.loss(b))
        return
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()

    if silent := without_a_score(criterion, name):
        with pytest.raises(InputError, match=f"every score of {silent}"):
            criterion.scores(model, groups, batches, lambda m, b: m.loss(b))
        return
    first = criterion.scores(model, groups, batches, lambda m, b: m.loss(b)).by_weight
    second = criterion.scores(model, groups, batches, lambda m, b: m.loss(b)).by_weight

    weights = prunable_weights(model)
    assert list(first) == list(weights)
    for key, score in first.items():
        assert score.shape == weights[key].shape
        assert score.dtype == weights[key].dtype
        assert torch.isfinite(score).all()
        assert torch.equal(score, second[key])
    assert any(score.any() for score in first.values())
    for group, keys in groups.assign(first).items():
        assert any(first[key].any() for key in keys), f"{group} has no score"
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any("forward" in vars(m) for m in model.modules())


def test_every_criterion_of_the_catalogue_is_tested() -> None:
    assert {type(c) for c in CRITERIA} == set(Criterion.__args__)  # type: ignore[attr-defined]


def test_a_model_name_alone_makes_its_spec(tiny_model: dict[str, Any]) -> None:
    for name, kind in NAMES.items():
        assert kind().name == name
        assert strict_yaml.from_data({"name": name}, kind, "tests") == kind()


def test_predictions_under_bfloat16_are_finite_float32(
    name: str, batches: list[Any], tiny_model: dict[str, Any]
) -> None:
    """Under autocast: what has to be exact stays float32, predictions are finite and float32."""
    torch.manual_seed(0)
    model = build(smallest(name, tiny_model)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = model.predict(batches[0])
    if isinstance(found, MapProbabilities):
        assert torch.isfinite(found.probabilities).all()
        assert found.probabilities.dtype == torch.float32
    else:
        assert torch.isfinite(found.boxes).all()
        assert found.boxes.dtype == found.scores.dtype == torch.float32
        assert found.boxes.shape[1] == 9


def test_smaller_model_gives_the_masked_outputs(
    name: str, batches: list[Any], tiny_model: dict[str, Any]
) -> None:
    """Half of all channels taken out: outputs within 1e-5 of the masked model's."""
    torch.manual_seed(0)
    model = build(smallest(name, tiny_model)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    graph = channel_graph(model, batches[0])
    groups = ModalityGroups.from_model(model)
    scores = Magnitude().scores(model, groups, [], lambda m, b: m.loss(b))
    half = SparsityAllocation(
        per_modality=dict.fromkeys(groups.entries, 0.5), pattern="channel", rule="uniform"
    )
    mask = channel_mask(scores, half, groups, graph, model)
    mask.apply(model)
    with torch.no_grad():
        wanted = model(batches[0])
        smaller = shrink(copy.deepcopy(model), mask.channels)
        found = smaller(batches[0])
    for key, value in wanted.items():
        assert torch.allclose(found[key], value, rtol=0, atol=1e-5), key
    assert sum(p.numel() for p in smaller.parameters()) < 0.5 * sum(
        p.numel() for p in model.parameters()
    )
