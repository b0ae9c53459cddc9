"""Allocations and masks: exact counts, ties, floors, and zeros that stay zero in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.groups import ModalityGroups, stage_of
from sparsefront.pruning.mask import PruningMask, top_mask
from sparsefront.pruning.scores import ImportanceScores

GROUPS = ModalityGroups({"camera": ("camera",), "lidar": ("lidar",)})


def scores_of(**values: list[float]) -> ImportanceScores:
    return ImportanceScores(
        {n.replace("_", ".") + ".weight": torch.tensor(v).double() for n, v in values.items()}
    )


def kept(mask: PruningMask) -> dict[str, list[int]]:
    return {n: m.int().tolist() for n, m in mask.by_weight.items()}


def test_the_nearest_entry_sets_the_sparsity() -> None:
    """camera: 4 of 6 weights stay under one threshold, except stage camera.b (own group: 1 of 2
    stays) and layer camera.c.weight (dense); lidar has no entry, so it is dense.
    """
    scores = scores_of(camera_a=[1, 5, 3, 2], camera_b=[9, 1], camera_c=[0, 0], lidar_a=[1, 1])
    allocation = SparsityAllocation(
        per_modality={"camera": 0.5},
        per_stage={"camera.b": 0.5},
        per_layer={"camera.c.weight": 0.0},
    )
    assert kept(PruningMask.from_scores(scores, allocation, GROUPS)) == {
        "camera.a.weight": [0, 1, 1, 0],
        "camera.b.weight": [1, 0],
        "camera.c.weight": [1, 1],
        "lidar.a.weight": [1, 1],
    }


def test_own_groups_share_one_threshold() -> None:
    """Group ends (camera.b, lidar.a) has one threshold over 4 weights and keeps 2; camera.c's own
    entry beats its group's, camera.a has its modality's; group unused changes nothing.
    """
    scores = scores_of(camera_a=[1, 5], camera_b=[9, 1], camera_c=[3, 4], lidar_a=[8, 2])
    allocation = SparsityAllocation(
        groups={"ends": ["camera.[bc].*", "lidar.*"], "unused": ["camera.a.weight"]},
        per_group={"ends": 0.5},
        per_layer={"camera.c.weight": 0.0},
        per_stage={"camera.b": 0.9},
        per_modality={"camera": 0.5},
    )
    assert kept(PruningMask.from_scores(scores, allocation, GROUPS)) == {
        "camera.a.weight": [0, 1],
        "camera.b.weight": [1, 0],
        "camera.c.weight": [1, 1],
        "lidar.a.weight": [1, 0],
    }
    assert SparsityAllocation.from_json(allocation.to_json()) == allocation


def test_overall_is_one_threshold_across_modalities() -> None:
    """Without entries 4 of the 8 weights stay, camera's and LiDAR's competing; an entry of its own
    takes camera out of it, and then 2 of LiDAR's 4 stay.
    """
    scores = scores_of(camera_a=[8, 7, 6, 1], lidar_a=[5, 4, 3, 2])
    shared = SparsityAllocation(overall=0.5)
    assert kept(PruningMask.from_scores(scores, shared, GROUPS)) == {
        "camera.a.weight": [1, 1, 1, 0],
        "lidar.a.weight": [1, 0, 0, 0],
    }
    own = SparsityAllocation(overall=0.5, per_modality={"camera": 0.0})
    assert kept(PruningMask.from_scores(scores, own, GROUPS)) == {
        "camera.a.weight": [1, 1, 1, 1],
        "lidar.a.weight": [1, 1, 0, 0],
    }


def test_global_and_uniform_rules_by_hand() -> None:
    scores = scores_of(camera_a=[8, 7, 6, 5], camera_b=[4, 3, 2, 1])
    half = {"camera": 0.5}
    whole = PruningMask.from_scores(
        scores, SparsityAllocation(per_modality=half, min_keep=0), GROUPS
    )
    assert kept(whole) == {"camera.a.weight": [1, 1, 1, 1], "camera.b.weight": [0, 0, 0, 0]}
    floor = PruningMask.from_scores(scores, SparsityAllocation(per_modality=half), GROUPS)
    assert kept(floor) == {"camera.a.weight": [1, 1, 1, 0], "camera.b.weight": [1, 0, 0, 0]}
    each = PruningMask.from_scores(
        scores, SparsityAllocation(per_modality=half, rule="uniform"), GROUPS
    )
    assert kept(each) == {"camera.a.weight": [1, 1, 0, 0], "camera.b.weight": [1, 1, 0, 0]}


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 1 / 3, 0.5, 0.999])
def test_counts_are_exact_under_ties(sparsity: float) -> None:
    scores = ImportanceScores({"camera.w": torch.zeros(1000), "camera.v": torch.zeros(7, 11)})
    allocation = SparsityAllocation(per_modality={"camera": sparsity}, min_keep=0)
    mask = PruningMask.from_scores(scores, allocation, ModalityGroups({"camera": ("camera",)}))
    assert sum(int(m.sum()) for m in mask.by_weight.values()) == round((1 - sparsity) * 1077)


def test_ties_keep_the_first() -> None:
    assert top_mask(torch.tensor([1.0, 2.0, 1.0, 1.0]), 3).int().tolist() == [1, 1, 1, 0]
    assert top_mask(torch.tensor([1.0]), 0).tolist() == [False]


def test_wrong_allocations_are_named() -> None:
    scores = scores_of(camera_a=[1, 2], lidar_a=[1, 2])
    for wrong, named in [
        ({"per_modality": {"radar": 0.5}}, "per_modality.radar"),
        ({"per_stage": {"camera.z": 0.5}}, "per_stage.camera.z"),
        ({"per_layer": {"camera.a": 0.5}}, "per_layer.camera.a"),
        ({"per_modality": {"camera": 0.9}, "min_keep": 2}, "min_keep"),
        ({"groups": {"g": ["radar.*"]}}, r"groups\.g: value 'radar\.\*' fits no prunable weight"),
        ({"groups": {"g": ["camera.*"], "h": ["*"]}}, r"groups\.h: .* which is in groups\.g"),
    ]:
        with pytest.raises(InputError, match=named):
            PruningMask.from_scores(scores, SparsityAllocation(**wrong), GROUPS)  # type: ignore[arg-type]
    for field in (
        {"overall": -0.1},
        {"per_modality": {"camera": 1.0}},
        {"rule": "ekr"},
        {"min_keep": -1},
        {"groups": {"g": ["camera.*"]}, "per_group": {"h": 0.5}},
        {"groups": {"g": []}},
        {"groups": {"a+b": ["camera.*"]}},
        {"groups": {"g": ["camera.*"]}, "per_group": {"g": 1.0}},
    ):
        with pytest.raises(InputError, match="allowed"):
            SparsityAllocation(**field)  # type: ignore[arg-type]


def test_allocation_survives_json() -> None:
    allocation = SparsityAllocation(per_modality={"camera": 0.25}, rule="uniform", min_keep=3)
    assert SparsityAllocation.from_json(allocation.to_json()) == allocation
    with pytest.raises(InputError, match="schema_version"):
        SparsityAllocation.from_json('{"schema_version": 99}')
    with pytest.raises(InputError, match="sparsity"):
        SparsityAllocation.from_json('{"schema_version": 1, "sparsity": 0.5}')


def test_longest_prefix_decides_and_unknown_names_raise() -> None:
    groups = ModalityGroups({"camera": ("net",), "fusion": ("net.head",)})
    assert groups.assign(["net.a.weight", "net.head.weight"]) == {
        "camera": ("net.a.weight",),
        "fusion": ("net.head.weight",),
    }
    with pytest.raises(InputError, match=r"network\.weight"):
        groups.group_of("network.weight")
    assert stage_of("camera.backbone.layer1.weight") == "camera.backbone"


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_pruned_weights_stay_zero_in_training(kind: str) -> None:
    """Momentum gathered before pruning must not move a pruned weight; clipping sees kept ones."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 1))
    optimizer: torch.optim.Optimizer
    if kind == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(8, 6)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    step()
    mask = PruningMask({"0.weight": torch.rand(6, 6) > 0.5})
    pruned = ~mask.by_weight["0.weight"]
    with mask.hold(model, optimizer):
        for _ in range(3):
            step()
            weight = model[0].weight
            assert not weight[pruned].any()
            assert not weight.grad[pruned].any()
            for value in optimizer.state[weight].values():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    assert not value[pruned].any()
            assert weight[~pruned].any()
    mask.check(model)
    step()
    with pytest.raises(AssertionError, match="not zero"):
        mask.check(model)
    achieved = mask.sparsity_by_group(ModalityGroups({"first": ("0",)}))
    assert achieved == {"first": int(pruned.sum()) / 36}


def test_mask_of_another_model_raises() -> None:
    with pytest.raises(InputError, match="no such weight"):
        PruningMask({"a.weight": torch.ones(2).bool()}).apply(nn.Linear(2, 2))
