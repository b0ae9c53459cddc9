"""Dense parts as ONNX files, each checked and run against torch before it counts as written."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sparsefront.errors import InputError
from sparsefront.search.exports.deployment.agreement import largest_error
from sparsefront.search.exports.deployment.parts import Part

OPSET = 17
"""LayerNormalization is an operator from here on; TensorRT reads it from 8.6."""
EXPORTED_AT = 18
"""The exporter's lowest."""
LATER_ATTRIBUTES = {"Resize": {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}}
"""Those that opset 18 added, with the value that says what opset 17 always did."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """error: the largest absolute difference between onnxruntime and torch over all outputs."""

    opset: int
    error: float
    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]


def write_onnx(part: Part, path: Path, device: str = "cpu") -> Checked:
    """Writes one part. ExecutionError where onnxruntime on the CPU and torch on the device do not
    agree.
    """
    onnx = require_packages()
    with quietly(), torch.no_grad():
        torch.onnx.export(
            part.module, tuple(part.inputs.values()), str(path), dynamo=True,
            opset_version=EXPORTED_AT, external_data=False, verbose=False,
            input_names=list(part.inputs), output_names=list(part.outputs),
        )  # fmt: skip
    model = onnx.load(path)
    _lower(model)
    onnx.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    error, shapes = _difference(part, path, device)
    return Checked(
        opset=OPSET,
        error=error,
        inputs={name: list(tensor.shape) for name, tensor in part.inputs.items()},
        outputs=shapes,
    )


def require_packages() -> Any:
    """onnx, where all that writing and checking needs is installed; else InputError."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--format: value 'onnx' needs {error.name}, which is not installed; allowed with "
            "`pip install -e .[onnx] -c constraints.txt`"
        ) from error
    return onnx


def _lower(model: Any) -> None:
    """To OPSET, in place: attributes that only say the default go, the checker sees to the rest."""
    from onnx.helper import get_attribute_value

    for node in model.graph.node:
        later = LATER_ATTRIBUTES.get(node.op_type, {})
        for attribute in list(node.attribute):
            if later.get(attribute.name) == get_attribute_value(attribute):
                node.attribute.remove(attribute)
    for entry in model.opset_import:
        if entry.domain == "":
            entry.version = OPSET


def _difference(part: Part, path: Path, device: str) -> tuple[float, dict[str, list[int]]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    arrays = {name: tensor.numpy() for name, tensor in part.inputs.items()}
    found = session.run(list(part.outputs), arrays)
    error = largest_error(part, [torch.from_numpy(array) for array in found], path.name, device)
    return error, {n: list(got.shape) for n, got in zip(part.outputs, found, strict=True)}


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the exporter's progress, and what it says of packages that no part uses."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loud]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loud, before, strict=True):
                logger.setLevel(level)
