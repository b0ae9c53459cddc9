"""Every model of the catalogue on the stand-in: what it computes equals the CPU."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.models.avod import model as avod_model
from sparsefront.models.camera import bevdepth, depth_lss, lift, lift_splat
from sparsefront.models.heads.transfusion import TransFusionHead
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.removal import shrink
from sparsefront.pruning.channels.select import channel_mask
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.cost import profile
from sparsefront.pruning.criteria import IMP, OBS, AlterMOMA, Criterion, Magnitude
from sparsefront.pruning.crossprune import CrossPrune, admm, hard_prune
from sparsefront.pruning.forward import call
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.moments import second_moments
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.pruning.repair.weighted_moments import weighted_moments
from tests.fake_device.accelerator import NAME
from tests.helpers.catalogue import CRITERIA, MODELS, batches_for, smallest, without_a_score
from tests.helpers.on_device import assert_close, moved, same_scores


def loss(model: Any, batch: Any) -> torch.Tensor:
    found: torch.Tensor = model.loss(batch)
    return found


@pytest.fixture(scope="module", params=MODELS)
def name(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def batches(tiny_root: Path, name: str, tiny_model: dict[str, Any]) -> list[Any]:
    return batches_for(tiny_root, name, tiny_model)


@pytest.fixture
def there(batches: list[Any]) -> list[Any]:
    return [batch.to(NAME) for batch in batches]


@pytest.fixture
def model(name: str, tiny_model: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build(smallest(name, tiny_model)).eval()


def test_model_computes_what_it_does_on_the_cpu(
    model: Any, batches: list[Any], there: list[Any]
) -> None:
    other: Any = moved(model, NAME)
    with torch.no_grad():
        assert_close(other(there[0]), model(batches[0]), 1e-4)
        assert_close(other.features(there[0]), model.features(batches[0]), 1e-4)
    for found, wanted in zip(other.predict(there[0]), model.predict(batches[0]), strict=True):
        assert_close(vars(found), vars(wanted), 1e-3)
    model.train()
    other.train()
    for dropout in (m for net in (model, other) for m in net.modules() if hasattr(m, "drop_prob")):
        dropout.drop_prob = 0.0
    for network in (model, other):
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
    ours, theirs = other.loss(there[0]), model.loss(batches[0])
    assert_close(ours, theirs, 1e-4, "loss")
    ours.backward()
    theirs.backward()
    for (key, parameter), wanted in zip(other.named_parameters(), model.parameters(), strict=True):
        assert (parameter.grad is None) == (wanted.grad is None), key
        if wanted.grad is not None:
            assert_close(parameter.grad, wanted.grad, 1e-3, key)


def test_geometry_is_the_same_under_bfloat16(
    name: str, model: Any, there: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every lifted feature falls into its cell, every crop and depth image is the same."""
    other: Any = moved(model, NAME)
    seen: list[list[torch.Tensor]] = []
    for module, function in GEOMETRY:
        monkeypatch.setattr(module, function, recorded(getattr(module, function), seen))
    for half in (False, True):
        seen.append([])
        with torch.no_grad(), torch.autocast(NAME, dtype=torch.bfloat16, enabled=half):
            other.features(there[0])
    assert seen[0] or "camera" not in ModalityGroups.from_model(model).entries, name
    for found, wanted in zip(seen[1], seen[0], strict=True):
        assert found.dtype == wanted.dtype
        assert torch.equal(found.cpu(), wanted.cpu())


GEOMETRY = (
    (lift, "cell_index"), (lift, "nearest_depth_image"), (lift_splat, "cell_index"),
    (depth_lss, "depth_image"), (bevdepth, "radar_image"), (avod_model, "areas_in_image"),
    (avod_model, "points_in_image"),
)  # fmt: skip
"""Where a batch's calibration meets its points and features."""


def recorded(function: Any, seen: list[list[torch.Tensor]]) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        found = function(*args, **options)
        seen[-1].append(found)
        return found

    return call


def test_step_under_bfloat16_is_finite(model: Any, there: list[Any]) -> None:
    other: Any = moved(model, NAME).train()
    with torch.autocast(NAME, dtype=torch.bfloat16):
        found = other.loss(there[0])
    found.backward()
    assert torch.isfinite(found)
    assert all(torch.isfinite(p.grad).all() for p in other.parameters() if p.grad is not None)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
def test_scores_equal_those_of_the_cpu(
    criterion: Criterion, name: str, model: Any, batches: list[Any], there: list[Any]
) -> None:
    groups = ModalityGroups.from_model(model)
    for module in model.modules():
        if isinstance(module, TransFusionHead):  # else rounding chooses the proposals
            torch.nn.init.normal_(module.heatmap_head[1].weight)
    other = moved(model, NAME)
    if isinstance(criterion, AlterMOMA) and len(groups.entries) < 3:
        return
    if silent := without_a_score(criterion, name):
        with pytest.raises(InputError, match=f"every score of {silent}"):
            criterion.scores(other, groups, there, loss)
        return
    if isinstance(criterion, (AlterMOMA, IMP)):  # Adam makes whole steps of a gradient's rounding
        criterion = replace(criterion, optimizer="sgd")
    found = criterion.scores(other, groups, there, loss).by_weight
    wanted = criterion.scores(model, groups, batches, loss).by_weight
    if isinstance(criterion, OBS):  # sparse sites come in another order, so others are sampled
        for names in groups.assign(wanted).values():
            ours = torch.cat([found[n].cpu().flatten() for n in names] or [torch.zeros(0)])
            theirs = torch.cat([wanted[n].flatten() for n in names] or [torch.zeros(0)])
            assert torch.allclose(ours.sort().values, theirs.sort().values, atol=1e-5)
            assert not names or torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.9
        return
    same_scores(found, wanted, 1e-4 if isinstance(criterion, AlterMOMA) else 1e-5)  # it trains


@pytest.mark.parametrize("rule", ["global", "uniform", "erk", "lamp"])
def test_masks_equal_those_of_the_cpu(rule: Any, model: Any) -> None:
    groups = ModalityGroups.from_model(model)
    other = moved(model, NAME)
    allocation = SparsityAllocation(overall=0.5, rule=rule)
    masks = []
    for network in (model, other):
        scores = Magnitude().scores(network, groups, [], loss)
        mask = PruningMask.from_scores(scores, allocation, groups, network)
        mask.apply(network)
        mask.check(network)
        masks.append(mask.by_weight)
    assert all(torch.equal(masks[1][n].cpu(), kept) for n, kept in masks[0].items())


def test_channels_go_as_on_the_cpu(model: Any, batches: list[Any], there: list[Any]) -> None:
    groups = ModalityGroups.from_model(model)
    half = SparsityAllocation(overall=0.5, pattern="channel", rule="uniform")
    kept = []
    for network, batch in ((model, batches[0]), (moved(model, NAME), there[0])):
        graph = channel_graph(network, batch)
        verify(network, batch, graph)
        scores = Magnitude().scores(network, groups, [], loss)
        mask = channel_mask(scores, half, groups, graph, network)
        mask.apply(network)
        smaller = shrink(copy.deepcopy(network), mask.channels)
        with torch.no_grad():
            assert_close(smaller(batch), network(batch), 1e-4)
        kept.append(mask.channels)
    assert kept[0] == kept[1]


def test_cost_is_that_of_the_cpu(model: Any, batches: list[Any], there: list[Any]) -> None:
    with torch.no_grad():
        wanted = profile(model, batches[:1]).cost(model)
        found = profile(moved(model, NAME), there[:1]).cost(model)
    assert found.to_json() == wanted.to_json()


def test_crossprune_finds_a_mask(name: str, model: Any, there: list[Any]) -> None:
    groups = ModalityGroups.from_model(model)
    other: Any = moved(model, NAME)
    scores = Magnitude().scores(model, groups, [], loss)  # on the CPU, as sweeps keep them
    features = lambda network, batch: network.features(batch)  # noqa: E731
    lambdas = dict.fromkeys(other.features(there[0]), 1.0)
    lambdas = {key: 1.0 for key in lambdas if key in groups.entries}
    options = CrossPrune(num_rounds=2, steps=1, lambdas=lambdas)
    before = {n: p.detach().cpu().clone() for n, p in other.named_parameters()}
    rounds = admm(
        other, groups, SparsityAllocation(overall=0.5), there, loss, features, options,
        scores=scores,
    )  # fmt: skip
    mask, _ = hard_prune(other, rounds)
    mask.check(other)
    for group, names in groups.assign(mask.by_weight).items():
        changed = [n for n in names if not torch.equal(
            dict(other.named_parameters())[n].cpu()[mask.by_weight[n].cpu()],
            before[n][mask.by_weight[n].cpu()])]  # fmt: skip
        assert changed or not names, f"{group} was not trained"


def test_repair_equals_that_of_the_cpu(model: Any, batches: list[Any], there: list[Any]) -> None:
    groups = ModalityGroups.from_model(model)
    scores = Magnitude().scores(model, groups, [], loss)
    mask = PruningMask.from_scores(scores, SparsityAllocation(overall=0.5), groups, model)
    other = moved(model, NAME)
    states = []
    for network, frames in ((model, batches), (other, there)):
        moments = second_moments(network, frames, call, all_positions=True)  # sites in any order
        refit_least_squares(network, mask, {n: m.cpu() for n, m in moments.items()}, 0.01)
        reestimate_norms(network, frames, call)
        mask.check(network)
        states.append(network.state_dict())
    assert_close(states[1], states[0], 1e-2)
    weighted = weighted_moments(other, there, loss)
    assert all(torch.isfinite(moment).all() for moment in weighted.values())
