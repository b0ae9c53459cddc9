"""Which group a weight belongs to, where nobody says."""

from __future__ import annotations

import torch
from torch import nn

from sparsefront.pruning.cost import profile
from sparsefront.pruning.groups import ModalityGroups


def test_every_parameters_first_name_part_is_a_group_by_default() -> None:
    """Norms and free parameters at the top, as in a ResNet or a vision transformer."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.token = nn.Parameter(torch.ones(1, 4, 1, 1))
            self.fc = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.fc((self.bn1(self.conv1(x)) * self.token).mean((2, 3)))
            return found

    model = Plain()
    groups = ModalityGroups.from_model(model)
    assert list(groups.entries) == ["conv1", "fc", "token", "bn1"]
    cost = profile(model, [torch.zeros(1, 3, 8, 8)]).cost(model)
    assert {name: row.parameters for name, row in cost.per_modality.items()} == {
        "conv1": 112, "fc": 10, "token": 4, "bn1": 8
    }  # fmt: skip
