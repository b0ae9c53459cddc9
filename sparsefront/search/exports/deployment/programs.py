"""Dense parts as torch.export programs (.pt2), or compiled by AOTInductor for this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch

from sparsefront.errors import InputError
from sparsefront.search.exports.deployment.agreement import largest_error
from sparsefront.search.exports.deployment.dense_onnx import quietly
from sparsefront.search.exports.deployment.parts import Part

Kind = Literal["pt2", "aotinductor"]


def write_program(part: Part, path: Path, kind: Kind, device: str = "cpu") -> dict[str, Any]:
    """Writes one part, reads it back and runs it against torch. `pt2`: `torch.export.load(FILE)
    .module()`; `aotinductor`: `torch._inductor.aoti_load_package(FILE)`, compiled code.
    ExecutionError where what is read back says something else than torch on the device, InputError
    where there is no C++ compiler.
    """
    inputs = tuple(part.inputs.values())
    with quietly(), torch.no_grad():
        program = torch.export.export(part.module, inputs)
        if kind == "pt2":
            torch.export.save(program, path)
            again: Any = torch.export.load(path).module()
        else:
            again = _compiled(program, path)
        said = again(*inputs)
    found = list(said) if isinstance(said, (tuple, list)) else [said]
    return {
        "error": largest_error(part, found, path.name, device),
        "inputs": {name: list(tensor.shape) for name, tensor in part.inputs.items()},
        "outputs": {n: list(t.shape) for n, t in zip(part.outputs, found, strict=True)},
    }


def require_compiler() -> None:
    """InputError where AOTInductor has nothing to compile with."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        raise InputError(
            f"--format: value 'aotinductor' needs a C++ compiler, and there is no {compiler}; "
            "allowed: onnx, pt2, original, or a machine with g++"
        )


def _compiled(program: Any, path: Path) -> Any:
    """The package at `path`, loaded; the compiler's files go with a folder of their own."""
    with tempfile.TemporaryDirectory() as cache:
        before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        try:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
        finally:
            os.environ.pop("TORCHINDUCTOR_CACHE_DIR")
            if before is not None:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before
    return torch._inductor.aoti_load_package(str(path))
