"""Does a written part say what its module says? Asked of every file before it counts as written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsefront.errors import ExecutionError
from sparsefront.search.exports.deployment.parts import Part

TOLERANCE = 1e-3
"""Of the largest value of an output, or absolute where none is above 1."""


def largest_error(part: Part, found: Sequence[Tensor], file: str, device: str = "cpu") -> float:
    """Largest absolute difference between what a file said on the CPU and the module's own outputs
    on a device. ExecutionError above TOLERANCE.
    """
    wanted = _own(part, device)
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


def _own(part: Part, device: str) -> list[Tensor]:
    """The module's outputs, computed on the device; it comes back to the CPU."""
    with torch.no_grad():
        try:
            own = part.module.to(device)(*(value.to(device) for value in part.inputs.values()))
        finally:
            part.module.to("cpu")
    return [output.cpu() for output in (own if isinstance(own, tuple) else (own,))]


def matched(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor:
    """For each query of `wanted` the nearest one of `found`, by all outputs [1, *, Q] together."""
    ours, theirs = (torch.cat(list(outputs), dim=1)[0].T for outputs in (wanted, found))
    return torch.cdist(ours, theirs, p=torch.inf).argmin(dim=1)
