"""What a deployed file says, held against torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsefront.errors import ExecutionError
from sparsefront.models import FusionModel
from sparsefront.search.exports.deployment.agreement import largest_error
from sparsefront.search.exports.deployment.parts import Part, dense_parts


def test_file_that_differs_from_torch_is_refused(small: FusionModel) -> None:
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
