"""A pruned model as it is deployed: without the channels that were removed."""

from __future__ import annotations

import copy

from torch import nn

from sparsefront.pruning.channels.removal import Kept, shrink


def deployed(model: nn.Module, channels: Kept) -> nn.Module:
    """A smaller copy, or the model itself where no channel was removed."""
    if not channels:
        return model
    return shrink(copy.deepcopy(model), channels)
