"""The formats that an export may hold beside our own: which a model can have, and writing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models import FusionModel, ModelSpec, build
from sparsefront.models.checkpoint import published_file, store
from sparsefront.models.checkpoint.dialect import Dialect
from sparsefront.models.checkpoint.dialects import dialect_of
from sparsefront.scenes.kitti import KittiSpec
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.exports.deployment.dense_onnx import require_packages, write_onnx
from sparsefront.search.exports.deployment.parts import Parts, dense_parts, supports_parts
from sparsefront.search.exports.deployment.programs import require_compiler, write_program
from sparsefront.search.exports.deployment.sparse_graph import (
    FILE,
    sparse_encoder,
    write_sparse_onnx,
)
from sparsefront.search.exports.format_names import Format

ORIGINAL = "original.pth"
SURROUND, KITTI_CAMERAS = 6, 1
"""Cameras of a nuScenes and of a KITTI frame."""
Say = Callable[[str], None]


def catalogue_model(spec: TrialSpec, name: Format) -> ModelSpec:
    """The model whose parts are known. InputError for a trial with a task of its own."""
    if spec.task is not None:
        raise InputError(
            f"--format: value {name!r}: the trial's task {spec.task.name} is of no catalogue, so "
            "its parts are not known; allowed: none"
        )
    return spec.parts.model


def require_formats(spec: ModelSpec, formats: tuple[Format, ...]) -> None:
    """InputError, one line, for a format that the model cannot have or that this machine cannot
    write.
    """
    for name in formats:
        if name == "original":
            original_dialect(spec)
        else:
            supports_parts(spec)
    if "onnx" in formats:
        require_packages()
    if "aotinductor" in formats:
        require_compiler()


def original_dialect(spec: ModelSpec, option: str = "--format: value 'original'") -> Dialect:
    """The dialect of the code base that the model is from. InputError, naming the `option` that
    wants it, where there is none, or where it has not the model's fuser.
    """
    dialect = dialect_of(spec.name)
    if dialect is None:
        raise InputError(
            f"{option}: model {spec.name!r} is of no other code base; allowed "
            "for mit_*, mmdet3d_*, pcdet_* and pku_*"
        )
    fuser = getattr(spec, "fuser", "concat")
    if fuser != "concat":
        raise InputError(
            f"{option}: the code of {spec.name!r} has no fuser {fuser!r}; "
            "allowed with model.fuser concat"
        )
    return dialect


def write_original(spec: ModelSpec, state: Mapping[str, Tensor], folder: Path) -> dict[str, Any]:
    """ORIGINAL: the weights, zeros in place, under the names, layouts and wrapper of the code base
    that the model is from; read back and compared before it counts.
    """
    dialect = original_dialect(spec)
    model, again = build(spec), build(spec)
    store.load_into(model, state, "the trial")
    published_file.save(model, dialect, folder / ORIGINAL)
    matched = published_file.load_into(
        again, dialect, published_file.read(folder / ORIGINAL), ORIGINAL
    )
    back = again.state_dict()
    changed = [n for n, tensor in model.state_dict().items() if not tensor.equal(back[n])]
    assert not changed, f"{ORIGINAL}: {changed[0]} is another tensor when read back"
    return {"file": ORIGINAL, "wrapper": dialect.wrapper, "entries": matched.loaded}


def write_deployment(
    model: nn.Module,
    spec: TrialSpec,
    formats: tuple[Format, ...],
    folder: Path,
    say: Say,
    device: str = "cpu",
) -> dict[str, Any]:
    """The model as it is deployed, in folders onnx/, pt2/ and aotinductor/; what each file takes
    and gives, how far it is from torch on the device, and which parts the model lacks.
    """
    wanted = [name for name in formats if name != "original"]
    if not wanted:
        return {}
    assert isinstance(model, FusionModel)
    cameras = KITTI_CAMERAS if isinstance(spec.val, KittiSpec) else SURROUND
    parts = dense_parts(model, (spec.image.height, spec.image.width), cameras)
    found: dict[str, Any] = {}
    for name in wanted:
        (folder / name).mkdir()
        files = _onnx(model, parts, folder, say, device) if name == "onnx" else {}
        if name == "pt2" or name == "aotinductor":
            for part in parts.found:
                path = folder / name / f"{part.name}.pt2"
                say(f"{name}/{path.name}")
                files[f"{name}/{path.name}"] = write_program(part, path, name, device)
        found[name] = {"files": files, "missing": _missing(model, parts, name)}
    return found


def _onnx(model: FusionModel, parts: Parts, folder: Path, say: Say, device: str) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for part in parts.found:
        path = folder / "onnx" / f"{part.name}.onnx"
        say(f"onnx/{path.name}")
        files[f"onnx/{path.name}"] = asdict(write_onnx(part, path, device))
    encoder = sparse_encoder(model)
    if encoder is not None:
        say(f"onnx/{FILE}")
        files[f"onnx/{FILE}"] = write_sparse_onnx(encoder, folder / "onnx" / FILE)
    return files


def _missing(model: FusionModel, parts: Parts, name: str) -> dict[str, str]:
    if sparse_encoder(model) is not None:
        if name == "onnx":
            return dict(parts.missing)
        return {**parts.missing, "lidar.backbone": "sparse convolutions are in onnx/ only"}
    return {**parts.missing, "lidar.backbone": "the model has no backbone of sparse convolutions"}
