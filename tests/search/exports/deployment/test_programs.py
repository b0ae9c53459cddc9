"""Programs of torch.export, and those compiled ahead of time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsefront.errors import InputError
from sparsefront.models import FusionModel
from sparsefront.search.exports.deployment.parts import Part, dense_parts
from sparsefront.search.exports.deployment.programs import require_compiler, write_program


def test_exported_programs_say_what_their_part_says(small: FusionModel, tmp_path: Path) -> None:
    for part in dense_parts(small, (32, 64), 2).found[1:3]:
        written = write_program(part, tmp_path / f"{part.name}.pt2", "pt2")
        assert written["error"] == 0
        again = torch.export.load(tmp_path / f"{part.name}.pt2").module()
        inputs = [torch.randn(x.shape) for x in part.inputs.values()]
        assert torch.equal(again(*inputs), part.module(*inputs))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_part_is_compiled_ahead_of_time(tmp_path: Path) -> None:
    x = torch.randn(1, 2, 4, 4)
    part = Part(name="p", module=nn.Conv2d(2, 2, 1), inputs={"x": x}, outputs=("y",))
    assert write_program(part, tmp_path / "part.pt2", "aotinductor")["error"] < 1e-3
    assert [p.name for p in tmp_path.iterdir()] == ["part.pt2"]


def test_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match="'aotinductor' needs a C\\+\\+ compiler, and there is no"):
        require_compiler()
