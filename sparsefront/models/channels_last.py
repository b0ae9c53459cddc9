"""Image and BEV convolutions with channels as the innermost dimension.

Values stay; sums run in another order, so results differ in their last bits. On CPUs without a copy
into oneDNN's own layout at every call, on GPUs without one into that of the tensor cores.
"""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """In place: weights [out, in, height, width] of 2-D convolutions, whose outputs follow them."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
