"""The map head and its loss against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from sparsefront.models.heads.map_head import MapHead, map_losses


def test_map_is_resampled_to_its_own_cells() -> None:
    """A map that holds its x coordinate: the outgoing cells hold theirs, exactly between."""
    head = MapHead(1, half_side_m=51.2)
    x = (torch.arange(128) + 0.5) * 0.8 - 51.2
    ramp = x.view(1, 1, -1, 1).expand(1, 1, 128, 128)
    found = F.grid_sample(ramp, head.grid.unsqueeze(0), align_corners=False)
    wanted = torch.arange(-49.75, 50, 0.5)
    assert found.shape == (1, 1, 200, 200)
    assert torch.allclose(found[0, 0, :, 7], wanted, atol=1e-4)


def test_map_loss_by_hand() -> None:
    """p = 1/2 everywhere: -log(1/2) (1/2)^2 in every class, whatever the goal."""
    losses = map_losses(torch.zeros(1, 6, 2, 2), torch.eye(2).expand(1, 6, 2, 2))
    assert len(losses) == 6
    assert all(v.item() == pytest.approx(math.log(2) / 4) for v in losses.values())
