"""Channels before a cut at a fixed number stay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.verify import verify
from tests.helpers.channels import shuffled


class Cut(nn.Module):
    """Fixed numbers along the channels: a slice, a chunk, a split into groups, a single one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.out = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        if self.how == "slice":
            x = torch.cat([x[..., 3:], x[..., :3]], dim=-1)
        elif self.how == "chunk":
            left, right = x.chunk(2, dim=-1)
            x = torch.cat([right, left], dim=-1)
        elif self.how == "equal":
            x = torch.cat(torch.split(x, 3, dim=-1)[::-1], dim=-1)
        elif self.how == "split":
            x = torch.cat(torch.split(x, [2, 5, 1], dim=-1)[::-1], dim=-1)
        elif self.how == "groups":
            x = x.view(-1, 2, 4).flip(1).flatten(1)
        elif self.how == "roll":
            x = torch.roll(x, 1, dims=-1)
        elif self.how == "index":
            x = x[:, torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])]
        out: Tensor = self.out(x)
        return out


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("none", 8),
        ("slice", 5),
        ("equal", 2),
        ("chunk", 0),
        ("split", 0),
        ("groups", 0),
        ("roll", 0),
        ("index", 0),
    ],
)
def test_what_lies_before_a_cut_stays(how: str, left: int) -> None:
    model = shuffled(Cut(how))
    x = torch.randn(2, 3).double()
    graph = channel_graph(model, x)
    assert len(graph) == left
    verify(model, x, graph)
