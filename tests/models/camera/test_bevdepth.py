"""BEVDepth's inputs and supervision against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models.camera.bevdepth import calibration_inputs, nearest_bins, radar_image
from sparsefront.scenes.batch import RADAR_FIELDS, SensorBatch
from tests.helpers.one_camera import one_camera_batch


def test_nearest_bins_by_hand() -> None:
    """2 x 2 pixels a feature; bins of 1 m from 1 m: 1.2 m is bin 1, nothing or too far is 0."""
    depth = torch.zeros(1, 1, 1, 2, 6)
    depth[0, 0, 0, 0, :2] = torch.tensor([5.0, 1.2])
    depth[0, 0, 0, 1, 3] = 70.0
    assert nearest_bins(depth, 2, (1.0, 60.0, 1.0)).tolist() == [[[1, 0, 0]]]
    depth[0, 0, 0, 1, 5] = 59.5
    assert nearest_bins(depth, 2, (1.0, 60.0, 1.0)).tolist() == [[[1, 0, 59]]]


def test_radar_points_are_raised_to_eight_heights() -> None:
    """20 m ahead: column 8, rows 8 - 10 z / 20 for z = 0.25 .. 2: two rows, bin 20, own fields."""
    radar = torch.zeros(1, RADAR_FIELDS)
    radar[0, 1], radar[0, 3] = 20.0, 5.0
    image = radar_image(one_camera_batch(radar), (16, 16), bins=59)
    assert image.shape == (1, 1, 59 + RADAR_FIELDS, 16, 16)
    hit = image[0, 0, 20].nonzero().tolist()
    assert hit == [[7, 8]]
    assert image[0, 0, 59 + 3, 7, 8].item() == 5.0
    assert image[0, 0, 59 + 2, 7, 8].item() == 2.0  # the last height counts
    assert image[0, 0, :59].sum() == 1


def test_calibration_inputs_are_27_numbers() -> None:
    found = calibration_inputs(one_camera_batch(torch.zeros(1, RADAR_FIELDS)))
    assert found.shape == (1, 27)
    assert found[0, :4].tolist() == [10, 10, 8, 8]
    assert found[0, 4:10].tolist() == [1, 0, 0, 0, 1, 0]
    with pytest.raises(InputError, match="intrinsics"):
        calibration_inputs(
            SensorBatch(**{**vars(one_camera_batch(torch.zeros(1, 45))), "parts": None})
        )
