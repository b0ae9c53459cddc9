"""CenterPoint's tasks: decoded targets and losses."""

from __future__ import annotations

import math

import pytest
import torch

from sparsefront.models.heads.center_tasks import TASKS, CenterTasksHead, select_task
from sparsefront.models.heads.transfusion import BoxCoder


@pytest.mark.parametrize("height", ["top", "centre"])
def test_center_tasks_decode_their_targets(height: str) -> None:
    """Maps that say exactly the targets give the boxes back, and no box loss."""
    torch.manual_seed(0)
    coder = BoxCoder(step_m=(0.8, 0.8), lower_m=(-25.6, -25.6), height=height)  # type: ignore[arg-type]
    head = CenterTasksHead(4, 4, coder).eval()
    boxes = torch.tensor(
        [
            [3.3, -7.9, 0.5, 1.9, 4.6, 1.6, 0.7, 1.0, -2.0],
            [-12.2, 10.1, 1.0, 2.8, 9.0, 3.1, -2.0, 0.0, 0.5],
            [20.0, 20.0, -0.3, 0.6, 0.7, 1.8, 0.0, 0.1, 0.0],
        ]
    )
    labels = torch.tensor([0, 3, 8])
    with torch.no_grad():
        outputs = head(torch.zeros(1, 4, 64, 64))
    for t, task in enumerate(TASKS):
        own = select_task(outputs, t)
        goal = head._goal(boxes, labels, task, own["heatmap"].shape[1:])
        own["heatmap"].copy_(torch.where(goal.heat == 1, 8.0, -8.0).unsqueeze(0))
        column = 0
        for name, size in {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}.items():
            own[name].flatten(2)[0, :, goal.place] = goal.values[:, column : column + size].T
            column += size
    losses = head.losses(outputs, [boxes], [labels])
    assert all(losses[f"bbox/task{t}"] < 1e-6 for t in range(6))
    ((found, scores, kinds),) = head.decode(outputs)
    assert kinds.tolist() == [0, 3, 8]
    assert (scores > 0.99).all()
    assert torch.allclose(found, boxes, atol=1e-4)


def test_unknown_velocities_have_no_loss() -> None:
    head = CenterTasksHead(4, 4, BoxCoder(step_m=(0.8, 0.8), lower_m=(-25.6, -25.6))).eval()
    box = torch.tensor([[3.3, -7.9, 0.5, 1.9, 4.6, 1.6, 0.7, math.nan, math.nan]])
    outputs = head(torch.zeros(1, 4, 64, 64))
    losses = head.losses(outputs, [box], [torch.tensor([0])])
    assert all(torch.isfinite(v) for v in losses.values())
