"""How large a stored model is: parameters and bytes, dense and as deployed.

A weight that multiplies is stored whole, or as its non-zeros and a bit for each position that says
whether there is one, whichever is smaller; N:M patterns need no more. All else (biases, norms and
their running statistics) is stored whole. Removed channels are not stored at all. Parameters are
float32, 4 bytes; headers of files are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

PARAMETER_BYTES = 4


@dataclass(frozen=True)
class StoredSize:
    """parameters: of the deployed model, zeros too; those of the dense one are in ModelCost.total.
    bytes_dense: of the dense model, nothing left out.
    """

    parameters: int
    bytes: int
    bytes_dense: int


def weight_bytes(parameters: int, nonzeros: int) -> int:
    """Bytes of one weight tensor with so many elements, so many of them not zero."""
    positions = -(-parameters // 8)
    return min(PARAMETER_BYTES * parameters, PARAMETER_BYTES * nonzeros + positions)


def buffer_bytes(model: nn.Module) -> int:
    """Bytes of what a state dict holds beside parameters."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in model.state_dict().items()
        if name not in parameters
    )
