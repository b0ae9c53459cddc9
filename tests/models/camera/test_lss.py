"""The plain view transform."""

from __future__ import annotations

import pytest
import torch

from sparsefront.models.camera.lift_splat import LiftGrid
from sparsefront.models.camera.lss import Lss
from sparsefront.scenes.batch import RADAR_FIELDS
from tests.helpers.one_camera import one_camera_batch


def test_lss_lifts_to_where_the_depth_is() -> None:
    """All mass on one depth and one channel: its cell holds the feature, others nothing."""
    grid = LiftGrid(
        image_size=(16, 16), feature_size=(1, 1), x=(-8.0, 8.0, 1.0), y=(0.0, 16.0, 1.0),
        depth=(1.0, 11.0, 1.0),
    )  # fmt: skip
    view = Lss(1, 1, grid, halves=False).eval()
    with torch.no_grad():
        view.depthnet.weight.zero_()
        view.depthnet.bias.zero_()
        view.depthnet.bias[5] = 50.0  # depth 6 m
        view.depthnet.bias[-1] = 3.0
        bev = view(torch.zeros(1, 1, 1, 1), one_camera_batch(torch.zeros(1, RADAR_FIELDS)))
    cell = bev[0, 0].nonzero()
    place = bev[0, 0].flatten().argmax().item()
    assert bev.flatten()[place].item() == pytest.approx(3.0, abs=1e-4)
    assert divmod(place, 16) == (8 - 5, 6)  # pixel (0, 0): x = -8 / 10 * 6 = -4.8 m, y = 6 m
    assert len(cell) >= 1
