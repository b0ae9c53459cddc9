"""Deployment files: NVIDIA's names and shapes, run by onnxruntime and an interpreter of ours."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from sparsefront.errors import ExecutionError
from sparsefront.files.atomic import read_json
from sparsefront.models import NAMES, BEVFusionSmall, FusionModel, build
from sparsefront.models.lidar.second import SecondEncoder
from sparsefront.models.lidar.voxelize import voxelize
from sparsefront.models.mit.catalogue import FusionDetectorMIT
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.exports.deployment.agreement import largest_error
from sparsefront.search.exports.deployment.dense_onnx import write_onnx
from sparsefront.search.exports.deployment.parts import Part, dense_parts, supports_parts
from sparsefront.search.exports.deployment.programs import require_compiler, write_program
from sparsefront.search.exports.deployment.sparse_graph import (
    DOMAIN,
    FILE,
    fold,
    sparse_encoder,
    write_sparse_onnx,
)
from sparsefront.search.exports.export import export
from sparsefront.search.exports.formats import original_dialect, require_formats, write_original
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial
from tests.helpers.tiny_sweep import TINY_MODEL

sys.path.insert(0, str(Path(__file__).parent))
from tests.helpers import sparse_interpreter

TINY_SMALL = strict_yaml.from_data(TINY_MODEL, BEVFusionSmall, "tests")


@pytest.fixture(scope="module")
def published() -> FusionModel:
    return unlike_fresh(build(FusionDetectorMIT().tiny()))


@pytest.fixture(scope="module")
def small() -> FusionModel:
    return unlike_fresh(build(TINY_SMALL))


def unlike_fresh(model: FusionModel) -> FusionModel:
    """Batch norms as after training: folding them must matter."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


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
    from sparsefront.models.camera.lift import depth_image
    from sparsefront.scenes.loader import ImageSpec
    from sparsefront.search.evaluation.synthetic_frame import synthetic_frame

    batch = synthetic_frame(ImageSpec(height=48, width=96))
    parts = {part.name: part.module for part in dense_parts(small, (48, 96), 6).found}
    view: Any = small.camera.view  # type: ignore[union-attr]
    with torch.no_grad():
        wanted = small.features(batch)["camera"]
        depth = depth_image(batch.points, batch.lidar_to_image, (48, 96))
        feature, weights = parts["camera.backbone"](batch.images, depth)
        lifted = weights.unsqueeze(-1) * feature.unsqueeze(1)  # [N, D, h, w, C]
        cells = view._cells(batch.lidar_to_image, *feature.shape[1:3])
        kept, side = cells >= 0, view.grid.cells
        pooled = bev_pool(lifted.flatten(0, 3)[kept], cells[kept], side * side)
        grid = pooled.view(1, side, side, -1).permute(0, 3, 1, 2)
        found = parts["camera.vtransform"](grid)
    assert torch.allclose(found, wanted, atol=1e-5)


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


def test_weights_beyond_half_precision_are_refused(small: FusionModel, tmp_path: Path) -> None:
    encoder: Any = sparse_encoder(build(TINY_SMALL))
    with torch.no_grad():
        encoder.conv_out[1].bias.fill_(1e6)
    with pytest.raises(ValueError, match=r"spconv8\.bias is 1e\+06, above float16's"):
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


def test_programs_of_torch_export(small: FusionModel, tmp_path: Path) -> None:
    for part in dense_parts(small, (32, 64), 2).found[1:3]:
        written = write_program(part, tmp_path / f"{part.name}.pt2", "pt2")
        assert written["error"] == 0
        again = torch.export.load(tmp_path / f"{part.name}.pt2").module()
        made = [torch.randn(x.shape) for x in part.inputs.values()]
        assert torch.equal(again(*made), part.module(*made))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_ahead_of_time(tmp_path: Path) -> None:
    x = torch.randn(1, 2, 4, 4)
    part = Part(name="p", module=nn.Conv2d(2, 2, 1), inputs={"x": x}, outputs=("y",))
    assert write_program(part, tmp_path / "part.pt2", "aotinductor")["error"] < 1e-3
    assert [p.name for p in tmp_path.iterdir()] == ["part.pt2"]


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match="'aotinductor' needs a C\\+\\+ compiler, and there is no"):
        require_compiler()


def test_a_file_that_says_something_else(small: FusionModel) -> None:
    part = dense_parts(small, (32, 64), 1).found[1]
    with torch.no_grad():
        wanted = part.module(*part.inputs.values())
    with pytest.raises(ExecutionError, match="file: output feat_out differs from torch by"):
        largest_error(part, [wanted + 0.1 * wanted.abs().max().clamp(min=1)], "file")
    queries = Part(
        name="q", module=nn.Identity(), inputs={"x": torch.randn(1, 3, 9)}, outputs=("x",),
        a_set=True,
    )  # fmt: skip
    assert largest_error(queries, [queries.inputs["x"].flip(2)], "file") == 0


def test_what_each_model_can_have() -> None:
    """One line that says what is allowed; a part that a model lacks has its reason."""
    for name in ("pku_bevf_tf", "avod-fpn"):
        with pytest.raises(ValueError, match=f"model '{name}' is not built of BEVFusion's parts"):
            supports_parts(NAMES[name]())
    with pytest.raises(ValueError, match="of no other code base; allowed for mit_"):
        original_dialect(NAMES["avod-fpn"]())
    gated = replace(NAMES["mit_bevfusion-det"](), fuser="gated")
    with pytest.raises(ValueError, match=r"has no fuser 'gated'; allowed with model\.fuser concat"):
        require_formats(gated, ("original",))
    pillars = build(NAMES["mit_lidar-pointpillars-det"]().tiny())
    assert sparse_encoder(pillars) is None
    found = dense_parts(pillars, (1, 1), 1)
    assert [(p.name, list(p.inputs)) for p in found.found] == [
        ("fuser", ["lidar"]), ("head.bbox", ["middle"]),
    ]  # fmt: skip
    calibrated = dense_parts(build(NAMES["mit_camera-resnet50-bevdepth-det"]().tiny()), (1, 1), 1)
    assert "reads the calibration" in calibrated.missing["camera.backbone"]
    assert [p.name for p in calibrated.found] == ["fuser", "head.bbox"]


@pytest.mark.parametrize(
    "name",
    ["mit_bevfusion-det", "mmdet3d_bevfusion_lidar-cam_spconv2",
     "mmdet3d_bevfusion_lidar-cam_mmcvops", "pcdet_bevfusion"],
)  # fmt: skip
def test_original_files_of_an_export(name: str, tmp_path: Path) -> None:
    """A pruned model's zeros under the original's names and layout."""
    spec = NAMES[name]().tiny()
    model = build(spec)
    name_of_weight = "lidar.backbone.encoder_layers.encoder_layer2.0.conv1.weight"
    with torch.no_grad():
        dict(model.named_parameters())[name_of_weight][0] = 0  # an output channel
    write_original(spec, model.state_dict(), tmp_path)
    (state,) = torch.load(tmp_path / "original.pth", weights_only=True).values()
    (key,) = [k for k in state if re.search(r"(encoder_layer2\.0|conv2\.1)\.conv1\.weight$", k)]
    outputs_last = name in ("mit_bevfusion-det", "mmdet3d_bevfusion_lidar-cam_mmcvops")
    first = state[key][..., 0] if outputs_last else state[key][0]
    assert not first.any() and int((state[key] == 0).sum()) == first.numel()


@pytest.mark.long
@pytest.mark.parametrize("pattern", ["2:4", "channel"])
def test_an_export_in_every_format_it_can_have(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, pattern: str
) -> None:
    """Of a trial: deployed sizes, notes and hashes in the manifest."""
    shares: dict[str, Any] = {"per_modality": {"camera": 0.3, "lidar": 0.3, "fusion": 0.3}}
    if pattern == "2:4":
        shares = {"per_stage": {"camera.neck": 0.5}}
        sweep_data["space"] = {"allocation.per_stage.camera.neck": {"choices": [0.0, 0.5]}}
    sweep_data["trial"]["allocation"] = {**shares, "pattern": pattern}
    run = RunFolder(runs=tmp_path, name="one")
    run.path.mkdir()
    run.sweep_file.write_bytes(write_yaml(sweep_data).read_bytes())
    write_trial(run, 0, run_trial(read_sweep(run.sweep_file).trial))
    folder = export("one", tmp_path, "knee", tmp_path / "out", ("onnx", "pt2"))
    manifest = read_json(folder / "manifest.json")
    notes = manifest["formats"]
    assert set(notes["onnx"]["files"]) == {
        f"onnx/{name}.onnx" for name in
        ("camera.backbone", "camera.vtransform", "fuser", "head.bbox", "lidar.backbone.xyz")
    }  # fmt: skip
    assert len(notes["pt2"]["files"]) == 4
    assert set(notes["onnx"]["files"]) | set(notes["pt2"]["files"]) <= set(manifest["sha256"])
    if pattern == "2:4":
        assert set(notes["nm"]["groups"]) == {
            f"camera.neck.{part}.0.weight" for part in ("lateral", "smooth")
        }
        assert notes["nm"]["pays"] == []
    else:
        camera = notes["onnx"]["files"]["onnx/fuser.onnx"]["inputs"]["camera"]
        assert camera[1] < sweep_data["trial"]["model"]["camera_bev_channels"]
