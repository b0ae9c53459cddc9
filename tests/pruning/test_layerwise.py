"""Rules that spread a sparsity group over its layers, and N:M patterns, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.layerwise import apportion, erk_shares, normalise_as_lamp, uniform_shares
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.nm_pattern import nm_mask
from sparsefront.pruning.prune import prune
from sparsefront.pruning.scores import ImportanceScores

CAMERA = ModalityGroups({"camera": ("camera",)})


def test_erk_shares_by_hand() -> None:
    """(10, 10) has sum 20 of product 100, (2, 50) 52 of 100, (4, 4, 3, 3) 14 of 144. 86 of 344
    weights kept: epsilon = 86 / 86 = 1, so 20, 52 and 14 weights stay.
    """
    assert erk_shares([(10, 10), (2, 50), (4, 4, 3, 3)], 86) == [20.0, 52.0, 14.0]


def test_erk_keeps_layers_dense_beyond_density_one() -> None:
    """(1, 4): 4 weights, dims sum 5; (10, 10): 100 weights, dims 20. 44 kept: epsilon 44/25 = 1.76
    gives the first 8.8 > 4, so it stays dense and 40 are left for the second: epsilon 2.
    """
    assert erk_shares([(1, 4), (10, 10)], 44) == [4.0, 40.0]


def test_apportioned_counts_are_whole_and_bounded() -> None:
    assert apportion([1.5, 1.5, 1.0], 4, [0, 0, 0], [9, 9, 9]) == [2, 1, 1]
    assert apportion([0.2, 0.2, 3.6], 4, [1, 1, 1], [9, 9, 9]) == [1, 1, 2]
    assert apportion([5.0, 1.0], 6, [0, 0], [4, 9]) == [4, 2]
    with pytest.raises(InputError, match="allowed: 2 to 3"):
        apportion([1.0], 4, [2], [3])


@pytest.mark.parametrize("rule", ["global", "uniform", "erk", "lamp"])
def test_every_rule_keeps_the_exact_count(rule: str) -> None:
    """137 weights at sparsity 0.7 keep round(41.1) = 41, and no layer dies."""
    torch.manual_seed(0)
    scores = ImportanceScores(
        {f"camera.{i}": torch.rand(shape) for i, shape in enumerate([(7, 11), (3, 4, 5), (1, 1)])}
    )
    total = sum(s.numel() for s in scores.by_weight.values())
    allocation = SparsityAllocation(per_modality={"camera": 0.7}, rule=rule)  # type: ignore[arg-type]
    mask = PruningMask.from_scores(scores, allocation, CAMERA)
    assert sum(int(m.sum()) for m in mask.by_weight.values()) == round(0.3 * total)
    assert all(m.any() for m in mask.by_weight.values())


def test_uniform_gives_every_layer_one_density() -> None:
    assert uniform_shares([(2, 5), (4, 5)], 6) == [2.0, 4.0]


def test_lamp_rule_by_hand() -> None:
    """Layer a = (1, 2): squares 1, 4 -> 1/5, 1. Layer b = (10, 30): 100/1000, 1. Three of four
    stay: the three highest are 1, 1, 1/5, so b's small weight goes though it is the third largest.
    """
    scores = ImportanceScores(
        {"camera.a": torch.tensor([1.0, 2.0]), "camera.b": torch.tensor([10.0, 30.0])}
    )
    assert normalise_as_lamp(scores.by_weight["camera.a"]).tolist() == pytest.approx([0.2, 1.0])
    mask = PruningMask.from_scores(
        scores, SparsityAllocation(per_modality={"camera": 0.25}, rule="lamp"), CAMERA
    )
    assert mask.by_weight["camera.a"].tolist() == [True, True]
    assert mask.by_weight["camera.b"].tolist() == [False, True]
    with pytest.raises(InputError, match="negative"):
        normalise_as_lamp(torch.tensor([-1.0, 1.0]))


def test_two_of_four_inputs_stay() -> None:
    """Inputs run along axis 1: (5, 1, 3, 3 | 0, 0, 2, 1) keeps 5 and the first 3; 2 and 1."""
    scores = torch.tensor([[5.0, 1, 3, 3, 0, 0, 2, 1]])
    assert nm_mask(scores, 2, 4, 1, "w").int().tolist() == [[1, 0, 1, 0, 0, 0, 1, 1]]
    with pytest.raises(InputError, match=r"camera\.w: 6"):
        nm_mask(torch.ones(2, 6), 2, 4, 1, "camera.w")


def test_nm_pattern_runs_along_the_inputs_of_each_layer() -> None:
    """Convolution (O, I, kh, kw) along I, transposed convolution (I, O, kh, kw) along its first
    axis, linear (O, I) along I: exactly two of every four inputs stay at each place.
    """
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "camera": nn.ModuleList(
                [nn.Conv2d(8, 3, 3), nn.ConvTranspose2d(4, 6, 2), nn.Linear(12, 5)]
            )
        }
    )
    allocation = SparsityAllocation(per_modality={"camera": 0.5}, pattern="2:4")
    mask = prune(model, Magnitude(), allocation, [], lambda m, b: m(b), CAMERA).by_weight
    conv = mask["camera.0.weight"].unflatten(1, (2, 4)).sum(2)
    deconv = mask["camera.1.weight"].unflatten(0, (1, 4)).sum(1)
    linear = mask["camera.2.weight"].unflatten(1, (3, 4)).sum(2)
    assert (conv == 2).all() and (deconv == 2).all() and (linear == 2).all()


def test_wrong_patterns_are_named() -> None:
    for pattern in ("4:2", "2-4", "0:4", "filters"):
        with pytest.raises(InputError, match=r"pattern: value .* allowed"):
            SparsityAllocation(pattern=pattern)
    with pytest.raises(InputError, match=r"per_modality.camera: value 0.6; .* 0.0 or 0.5"):
        SparsityAllocation(per_modality={"camera": 0.6}, pattern="2:4")
    with pytest.raises(InputError, match="needs the model"):
        PruningMask.from_scores(
            ImportanceScores({"camera.w": torch.ones(1, 4)}),
            SparsityAllocation(per_modality={"camera": 0.5}, pattern="2:4"),
            CAMERA,
        )
