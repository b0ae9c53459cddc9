"""Models whose channels are removed: random weights, and every other unit of a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsefront.pruning.channels.graph import ChannelGraph


def shuffled(model: nn.Module) -> nn.Module:
    """The model in float64 with random weights, norms with statistics and shifts of their own."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.double().eval()


def half(graph: ChannelGraph) -> Tensor:
    """Every other unit stays."""
    return torch.arange(len(graph)) % 2 == 0
