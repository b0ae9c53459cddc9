"""Parts of a model that are deployed: NVIDIA's names and shapes, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sparsefront.models import FusionModel
from sparsefront.search.exports.deployment.dense_onnx import write_onnx
from sparsefront.search.exports.deployment.parts import dense_parts


@pytest.mark.long
def test_parts_have_the_names_and_shapes_that_cuda_bevfusion_reads(
    published: FusionModel, tmp_path: Path
) -> None:
    """Inputs and outputs by name; what onnxruntime gives is what the whole model does with it."""
    parts = {part.name: part for part in dense_parts(published, (48, 96), 6).found}
    wanted = {
        "camera.backbone": (["img", "depth"], ["camera_feature", "camera_depth_weights"]),
        "camera.vtransform": (["feat_in"], ["feat_out"]),
        "fuser": (["camera", "lidar"], ["middle"]),
        "head.bbox": (["middle"], ["score", "rot", "dim", "reg", "height", "vel"]),
    }
    assert set(parts) == set(wanted)
    for name, part in parts.items():
        file = tmp_path / f"{name}.onnx"
        checked = write_onnx(part, file)
        assert checked.error < 1e-3
        model = onnx.load(file)
        assert [o.version for o in model.opset_import if o.domain == ""] == [17]
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        inputs, outputs = wanted[name]
        assert [i.name for i in session.get_inputs()] == inputs
        assert [o.name for o in session.get_outputs()] == outputs
    assert parts["camera.backbone"].inputs["img"].shape == (1, 6, 3, 48, 96)
    assert parts["camera.backbone"].inputs["depth"].shape == (1, 6, 1, 48, 96)
    assert parts["camera.vtransform"].inputs["feat_in"].shape == (1, 8, 64, 64)

    maps = {name: torch.randn(1, *x.shape[1:]) for name, x in parts["fuser"].inputs.items()}
    with torch.no_grad():
        middle = published.fusion.decoder(published.fusion.fuser(*maps.values()))  # type: ignore
    file = tmp_path / "fuser.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: x.numpy() for name, x in maps.items()})
    assert np.abs(found - middle.numpy()).max() < 1e-3


def test_camera_part_is_the_models_own_way_to_its_map(small: FusionModel) -> None:
    """What camera.backbone gives, pooled and through camera.vtransform, is the camera's map."""
    from sparsefront.models.camera.bev_pool import bev_pool
    from sparsefront.models.camera.lift import nearest_depth_image
    from sparsefront.scenes.loader import ImageSpec
    from sparsefront.search.evaluation.synthetic_frame import synthetic_frame

    batch = synthetic_frame(ImageSpec(height=48, width=96))
    parts = {part.name: part.module for part in dense_parts(small, (48, 96), 6).found}
    view: Any = small.camera.view  # type: ignore[union-attr]
    with torch.no_grad():
        wanted = small.features(batch)["camera"]
        depth = nearest_depth_image(batch.points, batch.lidar_to_image, (48, 96))
        feature, weights = parts["camera.backbone"](batch.images, depth)
        lifted = weights.unsqueeze(-1) * feature.unsqueeze(1)  # [N, D, h, w, C]
        cells = view._cells(batch.lidar_to_image, *feature.shape[1:3])
        kept, side = cells >= 0, view.grid.cells
        pooled = bev_pool(lifted.flatten(0, 3)[kept], cells[kept], side * side)
        grid = pooled.view(1, side, side, -1).permute(0, 3, 1, 2)
        found = parts["camera.vtransform"](grid)
    assert torch.allclose(found, wanted, atol=1e-5)
