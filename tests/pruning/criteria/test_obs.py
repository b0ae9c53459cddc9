"""Optimal Brain Surgeon's order worked out by hand and against brute force, in float64."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria.obs import OBS
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.repair.elimination import elimination_losses
from sparsefront.pruning.repair.refit import refit


def test_order_by_hand() -> None:
    """H = [[1, .9], [.9, 1]], w = (2, 1): [H^-1]_jj = 1 / .19. Costs 4 * .19, 1 * .19: the second
    goes, at .19 / 2; the first becomes 2 + .9 = 2.9 and costs 2.9^2 / 2.
    """
    h = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double()
    found = elimination_losses(torch.tensor([[2.0, 1.0]]).double(), h, 0.0)
    assert found[0].tolist() == pytest.approx([2.9**2 / 2, 0.095])


def test_sums_of_costs_are_half_of_what_the_best_refit_leaves() -> None:
    """Of the weights that went first, whatever their number; inputs are nearly uncorrelated, so
    that no cost falls below the one before.
    """
    random = torch.Generator().manual_seed(0)
    x = torch.randn(6, 400, generator=random).double()
    h = x @ x.T / 400
    w = torch.tensor([[0.1, -0.4, 0.9, 1.7, -2.9, 4.0]]).double()
    losses = elimination_losses(w, h, 0.0)[0]
    order = losses.argsort()
    for gone in range(1, 6):
        kept = torch.ones(1, 6, dtype=torch.bool)
        kept[0, order[:gone]] = False
        error = refit(w, kept, h, 0.0).error.item()
        assert losses[order[:gone]].sum().item() == pytest.approx(error / 2)


def test_the_pair_that_goes_first_costs_least() -> None:
    """Of all pairs, in rows of correlated inputs where magnitude would take another one."""
    h = torch.tensor([[1.0, 0.95, 0.0], [0.95, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    w = torch.tensor([[1.0, -1.1, 0.5]]).double()
    losses = elimination_losses(w, h, 0.0)[0]
    first = set(losses.argsort()[:2].tolist())
    errors = {}
    for pair in combinations(range(3), 2):
        kept = torch.ones(1, 3, dtype=torch.bool)
        kept[0, list(pair)] = False
        errors[pair] = refit(w, kept, h, 0.0).error.item()
    assert first == set(min(errors, key=lambda pair: errors[pair])) == {0, 1}


class Two(nn.Module):
    """Two layers whose magnitudes differ by ten."""

    def __init__(self) -> None:
        super().__init__()
        self.camera = nn.Linear(2, 1, bias=False)
        self.fusion = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.camera.weight.copy_(torch.tensor([[1.0, 1.5]]))
            self.fusion.weight.fill_(15.0)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fusion(self.camera(x))
        return out


def test_layers_keep_their_magnitudes_in_another_order() -> None:
    """The first input is ten times the second: its weight of 1 costs more than 1.5 there."""
    batches = [torch.tensor([[10.0, 0.0], [0.0, 1.0]]).double()]
    model = Two()
    groups = ModalityGroups.from_model(model)
    loss = lambda network, batch: network(batch).sum()  # noqa: E731
    scores = OBS().scores(model, groups, batches, loss).by_weight
    assert scores["camera.weight"].tolist() == [[1.5, 1.0]]
    assert scores["fusion.weight"].tolist() == [[15.0]]
    plain = OBS(most_columns=1).scores(model, groups, batches, loss).by_weight
    assert plain["camera.weight"].tolist() == [[1.0, 1.5]]


def test_wrong_options_raise() -> None:
    with pytest.raises(InputError, match="most_columns: value 0"):
        OBS(most_columns=0)
    with pytest.raises(InputError, match="damping: value 0"):
        OBS(damping=0.0)
