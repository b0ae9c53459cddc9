"""A pruned model as it is deployed: without the channels that were removed."""

from __future__ import annotations

import copy

from sparsefront.models.fusion_model import FusionModel
from sparsefront.pruning.channels.removal import Kept, shrink


def deployed(model: FusionModel, channels: Kept) -> FusionModel:
    """A smaller copy, or the model itself where no channel was removed."""
    if not channels:
        return model
    smaller = shrink(copy.deepcopy(model), channels)
    assert isinstance(smaller, FusionModel)
    return smaller
