"""Does a written part say what its module says? Asked of every file before it counts as written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsefront.errors import ExecutionError
from sparsefront.search.exports.deployment.parts import Part

TOLERANCE = 1e-3
"""Of the largest value of an output, or absolute where none is above 1."""


def largest_error(part: Part, found: Sequence[Tensor], file: str) -> float:
    """Largest absolute difference to the module's own outputs. ExecutionError above TOLERANCE."""
    with torch.no_grad():
        own = part.module(*part.inputs.values())
    wanted = list(own) if isinstance(own, tuple) else [own]
    if part.a_set:
        order = matched(wanted, found)
        found = [tensor[..., order] for tensor in found]
    largest = 0.0
    for name, got, want in zip(part.outputs, found, wanted, strict=True):
        off = float((got - want).abs().max())
        largest = max(largest, off)
        if not off <= TOLERANCE * max(1.0, float(want.abs().max())):
            raise ExecutionError(f"{file}: output {name} differs from torch by {off:.2g}")
    return largest


def matched(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor:
    """For each query of `wanted` the nearest one of `found`, by all outputs [1, *, Q] together."""
    ours, theirs = (torch.cat(list(outputs), dim=1)[0].T for outputs in (wanted, found))
    return torch.cdist(ours, theirs, p=torch.inf).argmin(dim=1)
