"""Stores image and BEV convolutions with channels as the innermost dimension.

Values stay; sums run in another order, so results differ in their last bits. It saves a copy at
every call: into oneDNN's layout on CPUs, into that of the tensor cores on GPUs.
"""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """Changes weights [out, in, height, width] of 2-D convolutions in place."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
