"""Formats of an export: which a model can have, and what their files hold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json
from sparsefront.models import NAMES, build
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.exports.deployment.parts import dense_parts, supports_parts
from sparsefront.search.exports.deployment.sparse_graph import sparse_encoder
from sparsefront.search.exports.export import export
from sparsefront.search.exports.formats import original_dialect, require_formats, write_original
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial


def test_formats_that_a_model_cannot_have_are_refused_and_its_parts_known() -> None:
    """One line that says what is allowed; a part that a model lacks has its reason."""
    for name in ("pku_bevf_tf", "avod-fpn"):
        with pytest.raises(InputError, match=f"model '{name}' is not built of BEVFusion's parts"):
            supports_parts(NAMES[name]())
    with pytest.raises(InputError, match="of no other code base; allowed for mit_"):
        original_dialect(NAMES["avod-fpn"]())
    gated = replace(NAMES["mit_bevfusion-det"](), fuser="gated")
    with pytest.raises(InputError, match=r"has no fuser 'gated'; allowed with model\.fuser concat"):
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
def test_original_file_has_the_zeros_under_its_own_names(name: str, tmp_path: Path) -> None:
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
def test_export_in_every_format_lists_files_sizes_and_hashes(
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
