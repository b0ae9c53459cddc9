"""Models that cannot lose channels are refused; rounding is no fault."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.channels.graph import channel_graph
from sparsefront.pruning.channels.verify import verify
from sparsefront.pruning.criteria import Magnitude
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.prune import prune
from tests.helpers.channels import shuffled


class Fixed(nn.Module):
    """A size written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        canvas = x.new_zeros(len(x), 4)
        canvas[:, :] = self.a(x)
        out: Tensor = self.out(canvas)
        return out


class Count(nn.Module):
    """A result that depends on how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        out: Tensor = self.out(x) / x.shape[-1]
        return out


class Sorted(nn.Module):
    """The order of close scores, as of queries: rounding lets some change places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(64, 64), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.a(x)).flatten().argsort().to(x.dtype)


def test_places_swapped_by_rounding_are_no_fault() -> None:
    torch.manual_seed(0)
    model = Sorted()
    x = torch.randn(1, 64) + 1e-3 * torch.randn(2000, 64)
    graph = channel_graph(model, x)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.mul_(1 + 1e-6 * torch.randn(weight.shape))
    assert 0.05 < float((rounded(x) != model(x)).float().mean()) < 0.9
    assert len(graph) == 64
    verify(model, x, graph)


@pytest.mark.parametrize(("kind", "said"), [(Fixed, "does not run"), (Count, "outputs .* differ")])
def test_models_that_cannot_lose_channels_are_refused(kind: type[nn.Module], said: str) -> None:
    """prune() says so, and the model is as it was."""
    model = shuffled(kind())
    before = copy.deepcopy(model.state_dict())
    groups = ModalityGroups({"all": ("a", "out")})
    half = SparsityAllocation(overall=0.5, pattern="channel")
    with pytest.raises(InputError, match=said):
        prune(model, Magnitude(), half, [torch.randn(2, 3).double()], lambda m, b: m(b), groups)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
