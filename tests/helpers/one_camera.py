"""A batch of one camera with a simple calibration."""

from __future__ import annotations

import torch

from sparsefront.scenes.batch import CalibrationParts, SensorBatch


def one_camera_batch(radar: torch.Tensor) -> SensorBatch:
    """A camera at the origin that looks along +y; focal length 10, centre (8, 8)."""
    project = torch.tensor([[10.0, 8, 0, 0], [0, 8, -10, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    parts = CalibrationParts(
        projection=project[None, None], image=torch.eye(4)[None, None], lidar=torch.eye(4)[None],
        intrinsics=torch.tensor([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]])[None, None],
        camera_to_ego=torch.eye(4)[None, None],
    )  # fmt: skip
    return SensorBatch(
        images=torch.zeros(1, 1, 3, 16, 16), points=(torch.zeros(1, 5),),
        lidar_to_image=project[None, None], lidar_to_global=torch.eye(4)[None], targets=(),
        tokens=("one",), parts=parts, radar=(radar,),
    )  # fmt: skip
