"""Targets of the CenterPoint head decode back to the boxes they came from."""

from __future__ import annotations

import math

import torch

from sparsefront.models.bev_grid import BevGrid
from sparsefront.models.heads.center import CenterHead, gaussian_focal_loss
from sparsefront.models.heads.center_targets import center_targets
from sparsefront.scenes.batch import Targets

GRID = BevGrid(half_side_m=19.2)


def test_targets_decode_to_the_boxes() -> None:
    boxes = torch.tensor(
        [
            [3.3, -7.1, 0.5, 4.6, 1.9, 1.7, 0.7, 2.0, -1.0],
            [-9.0, 8.0, 0.1, 0.7, 0.6, 1.8, -2.5, 0, 0],
        ]
    )
    labels = torch.tensor([0, 8])
    targets = (Targets(boxes=boxes, labels=labels),)
    goal = center_targets(targets, GRID, torch.device("cpu"))
    head = CenterHead(8, 8, GRID)
    cells = GRID.cells
    maps = {"heatmap": torch.logit(goal.heatmap, eps=1e-4)}
    column = 0
    for name, size in (("offset", 2), ("height", 1), ("size", 3), ("rotation", 2), ("velocity", 2)):
        flat = torch.zeros(1, size, cells * cells)
        flat[0][:, goal.place] = goal.values[:, column : column + size].T
        maps[name] = flat.view(1, size, cells, cells)
        column += size
    found = head.decode(maps, 2, 0.1)[0]
    order = found.labels.argsort()
    torch.testing.assert_close(found.boxes[order], boxes, atol=1e-4, rtol=1e-4)
    assert found.labels[order].tolist() == [0, 8]


def test_focal_loss_by_hand() -> None:
    """A centre at p = 1/2: -(1/2)^2 ln(1/2); an empty cell at p = 1/2 the same; over 1 centre."""
    loss = gaussian_focal_loss(
        torch.zeros(1, 1, 1, 2, dtype=torch.float64),
        torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64),
    )
    assert math.isclose(loss.item(), 2 * 0.25 * math.log(2), rel_tol=1e-12)


def test_box_outside_the_grid_is_left_out() -> None:
    far = Targets(boxes=torch.ones(1, 9) * 100, labels=torch.tensor([0]))
    goal = center_targets((far,), GRID, torch.device("cpu"))
    assert len(goal.frame) == 0
    assert not goal.heatmap.any()
