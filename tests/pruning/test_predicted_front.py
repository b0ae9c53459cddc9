"""The predicted front against brute force, and its curves by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from sparsefront.pruning.cost import profile
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.predicted_front import GroupCurve, group_curve, predicted_front
from sparsefront.pruning.scores import ImportanceScores


def curve(losses: list[float], saved: list[float]) -> GroupCurve:
    steps = np.linspace(0, 1, len(losses))
    return GroupCurve(sparsities=steps, loss=np.array(losses), saved=np.array(saved))


def test_curve_sums_loss_and_macs_of_what_goes() -> None:
    """Scores 1, 2, 3, 4 and 10 (of 20): half of the first layer removes 3, and 2 of its 4 MACs."""
    model = nn.ModuleDict({"camera": nn.Linear(2, 2, bias=False), "lidar": nn.Linear(2, 1, False)})
    scores = ImportanceScores({
        "camera.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "lidar.weight": torch.tensor([[10.0, -5.0]]),  # below 0 counts as 0
    })  # fmt: skip
    groups = ModalityGroups.from_model(model)
    uses = profile(
        model, [torch.ones(1, 2)], lambda m, x: m["lidar"](m["camera"](x)), groups=groups
    )
    found = group_curve(scores, scores, ["camera.weight"], uses, [0.0, 0.5, 0.75])
    np.testing.assert_allclose(found.loss, [0, 3 / 20, 6 / 20])
    np.testing.assert_allclose(found.saved, [0, 2, 3])


def test_the_cheaper_group_goes_first() -> None:
    """Equal savings, the camera's at a tenth of the loss: it is pruned first, the LiDAR last."""
    rising, saved = [0.0, 1.0, 4.0, 9.0], [0.0, 1.0, 2.0, 3.0]
    curves = {"camera": curve([0.1 * v for v in rising], saved), "lidar": curve(rising, saved)}
    front = predicted_front(curves).evenly(5)
    assert front[0] == {"camera": 0.0, "lidar": 0.0}
    assert front[-1] == {"camera": 1.0, "lidar": 1.0}
    pruned = [(f["camera"], f["lidar"]) for f in front]
    assert pruned == sorted(pruned)
    assert all(camera >= lidar for camera, lidar in pruned)


@pytest.mark.parametrize("seed", range(5))
def test_no_allocation_dominates_the_front(seed: int) -> None:
    """No choice on the grid has both less loss and more MACs saved than a point of the front."""
    random = np.random.default_rng(seed)
    curves = {
        name: curve(np.sort(random.random(6)).cumsum().tolist(), np.sort(random.random(6)).tolist())
        for name in ("camera", "lidar", "fusion")
    }
    every = [
        (
            sum(c.loss[k] for c, k in zip(curves.values(), at, strict=True)),
            sum(c.saved[k] for c, k in zip(curves.values(), at, strict=True)),
        )
        for at in product(range(6), repeat=3)
    ]
    for values in predicted_front(curves).evenly(8):
        at = [int(np.abs(curves[n].sparsities - s).argmin()) for n, s in values.items()]
        loss = sum(c.loss[k] for c, k in zip(curves.values(), at, strict=True))
        saved = sum(c.saved[k] for c, k in zip(curves.values(), at, strict=True))
        assert not any(ls < loss - 1e-12 and sv > saved + 1e-12 for ls, sv in every)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 3e7])
def test_front_does_not_depend_on_the_unit_of_loss(unit: float) -> None:
    """The front is that of the same losses in another unit."""
    steps = np.linspace(0.0, 0.95, 20)
    fronts = [
        predicted_front({
            name: GroupCurve(sparsities=steps, loss=scale * a * steps**3, saved=c * steps)
            for name, a, c in (("camera", 1.0, 6.0), ("lidar", 4.0, 3.0))
        })
        for scale in (1.0, unit)
    ]  # fmt: skip
    assert abs(len(fronts[0].saved) - len(fronts[1].saved)) <= 1 < len(fronts[0].saved) / 20
    for share in (0.0, 0.3, 0.6, 1.0):
        for name, sparsity in fronts[0].at(share).items():
            assert fronts[1].at(share)[name] == pytest.approx(sparsity, abs=0.03)


def test_a_tilt_spares_a_group() -> None:
    """Twins share alike; told that the camera loses e^2 as much, the front prunes it later."""
    twins = {
        "camera": curve([0, 1, 4, 9], [0, 1, 2, 3]),
        "lidar": curve([0, 1, 4, 9], [0, 1, 2, 3]),
    }
    even = predicted_front(twins)
    assert (even.sparsities[:, 0] == even.sparsities[:, 1]).all()
    tilted = predicted_front(twins, {"camera": 2.0})
    assert (tilted.sparsities[:, 0] <= tilted.sparsities[:, 1]).all()
    assert (tilted.sparsities[:, 0] < tilted.sparsities[:, 1]).any()
    assert tilted.loss.max() == 9  # the curves' own, not the tilted one


def test_front_interpolates_between_points() -> None:
    """Half of what can be saved lies half-way between the two allocations of a one-step curve."""
    front = predicted_front({"camera": curve([0.0, 1.0], [0.0, 8.0])})
    assert front.at(0.0) == {"camera": 0.0}
    assert front.at(0.5) == {"camera": 0.5}
    assert front.at(1.0) == {"camera": 1.0}
