"""The graph of sparse convolutions, run by an interpreter of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import FusionModel
from sparsefront.models.lidar.second import SecondEncoder
from sparsefront.models.lidar.voxelize import voxelize
from sparsefront.search.exports.deployment.sparse_graph import (
    DOMAIN,
    FILE,
    fold,
    sparse_encoder,
    write_sparse_onnx,
)
from tests.helpers import sparse_interpreter


@pytest.mark.parametrize("kind", ["published", "small"])
def test_sparse_graph_run_by_another_interpreter(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Batch norms folded, ReLUs fused, weights in half precision: the encoder's own map."""
    model: FusionModel = request.getfixturevalue(kind)
    encoder = sparse_encoder(model)
    assert encoder is not None
    write_sparse_onnx(encoder, tmp_path / FILE)
    graph = onnx.load(tmp_path / FILE)
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {DOMAIN}
    assert all(w.data_type == onnx.TensorProto.FLOAT16 for w in graph.graph.initializer)

    torch.manual_seed(1)
    points = torch.rand(100, 5) * torch.tensor([12.0, 12, 4, 200, 0.2])
    points = points - torch.tensor([6.0, 6, 3, 0, 0])
    if isinstance(encoder, SecondEncoder):
        features, sites = voxelize(
            (points,), encoder.lower_m, encoder.voxel_m, encoder.cells,
            max_points=encoder.max_points, max_voxels=encoder.max_voxels[1],
        )  # fmt: skip
    else:
        grid = encoder.grid
        lower = (-grid.half_side_m, -grid.half_side_m, grid.z_min_m)
        features, sites = voxelize((points,), lower, encoder.voxel_m, encoder.shape)
    with torch.no_grad():
        wanted = encoder((points,)).numpy()
    found = sparse_interpreter.run(graph, features.numpy(), sites[:, 1:].numpy())
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() < 1e-3 * max(1.0, np.abs(wanted).max())


def test_sparse_nodes_are_those_of_libspconv(published: FusionModel, tmp_path: Path) -> None:
    """Operators in order, and the attributes that its parser reads."""
    encoder: Any = sparse_encoder(published)
    write_sparse_onnx(encoder, tmp_path / FILE)
    graph = onnx.load(tmp_path / FILE).graph
    block = ["SparseConvolution", "SparseConvolution", "Add", "Relu"]
    stage = [*block, *block, "SparseConvolution"]
    end = ["ScatterDense", "Transpose", "Reshape"]
    assert [n.op_type for n in graph.node] == ["SparseConvolution", *stage * 4, *end]
    last = {a.name: onnx.helper.get_attribute_value(a) for a in graph.node[-4].attribute}
    assert (last["kernel_size"], last["stride"]) == ([1, 1, 3], [1, 1, 2])
    assert (last["subm"], last["activation"], last["rulebook"]) == (0, b"ReLU", b"out")
    assert last["output_spatial_shape"][:2] == [32, 32]
    shapes = {w.name: list(w.dims) for w in graph.initializer}
    assert shapes["spconv0.weight"] == [4, 3, 3, 3, 5] and shapes["spconv0.bias"] == [4]


def test_weights_beyond_half_precision_are_refused(small_anew: FusionModel, tmp_path: Path) -> None:
    encoder: Any = sparse_encoder(small_anew)
    with torch.no_grad():
        encoder.conv_out[1].bias.fill_(1e6)
    with pytest.raises(InputError, match=r"spconv8\.bias is 1e\+06, above float16's"):
        write_sparse_onnx(encoder, tmp_path / FILE)


def test_zeros_stay_zeros_when_norms_are_folded(small: FusionModel) -> None:
    encoder: Any = sparse_encoder(small)
    convolution, norm, _ = encoder.stage1.children()
    kept = torch.rand(convolution.weight.shape) > 0.5
    before = convolution.weight.detach().clone()
    with torch.no_grad():
        convolution.weight.mul_(kept)
        folded = fold(convolution, norm)
        convolution.weight.copy_(before)
    assert torch.equal(folded.weight == 0, ~kept)
