"""Which channels stay under an allocation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import ChannelGraph, channel_graph
from sparsefront.pruning.channels.select import select, unit_scores
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.scores import ImportanceScores


def two_branches() -> tuple[nn.Module, ChannelGraph, ModalityGroups]:
    model = nn.Sequential()
    model.camera = nn.Linear(2, 4, bias=False)
    model.lidar = nn.Linear(4, 2, bias=False)
    model.fusion = nn.Linear(2, 1, bias=False)
    graph = channel_graph(
        model, torch.ones(1, 2), lambda m, x: m.fusion(m.lidar(m.camera(x).relu()).relu())
    )
    return model, graph, ModalityGroups.from_model(model)


def test_the_highest_scored_channels_stay() -> None:
    """Camera rows of two weights have means 1, 4, 3, 2; half of four stay: rows 1 and 2."""
    _, graph, groups = two_branches()
    rows = torch.tensor([1.0, 4.0, 3.0, 2.0])
    scores = ImportanceScores(
        {
            "camera.weight": torch.stack([rows - 1, rows + 1], dim=1),
            "lidar.weight": torch.ones(2, 4),
            "fusion.weight": torch.ones(1, 2),
        }
    )
    for channels, wanted in {
        "mean": [1.0, 4.0, 3.0, 2.0], "sum": [2.0, 8.0, 6.0, 4.0], "filter": [1.0, 4.0, 3.0, 2.0],
    }.items():  # fmt: skip
        found = unit_scores(replace(scores, channels=channels), graph)  # type: ignore[arg-type]
        assert found[:4].tolist() == wanted
    allocation = SparsityAllocation(per_modality={"camera": 0.5}, pattern="channel")
    assert select(scores, allocation, groups, graph).tolist() == [
        False, True, True, False, True, True,
    ]  # fmt: skip


def test_at_least_one_channel_of_every_layer_stays() -> None:
    model, graph, groups = two_branches()
    scores = Magnitude().scores(model, groups, [], lambda m, b: m(b))
    allocation = SparsityAllocation(per_modality={"camera": 0.74}, pattern="channel")
    assert int(select(scores, allocation, groups, graph)[:4].sum()) == 1
    with pytest.raises(InputError, match=r"keeps 0 of 4 channels"):
        select(
            scores,
            SparsityAllocation(per_modality={"camera": 0.9}, pattern="channel"),
            groups,
            graph,
        )
    with pytest.raises(InputError, match="allowed for channels"):
        select(scores, SparsityAllocation(rule="erk", pattern="channel"), groups, graph)
