"""The loss that a cut costs after its repair, for many sparsities at once, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsefront.pruning.repair.least_squares import refitted
from sparsefront.pruning.repair.weighted_moments import loss_of_changes

KeptByLevel = Sequence[Mapping[str, Tensor]]
"""At each sparsity of a group: weight name -> bool, True is kept."""


def repaired_losses(
    model: nn.Module,
    kept: KeptByLevel,
    moments: Mapping[str, Tensor],
    weighted: Mapping[str, Tensor],
    damping: float = 0.01,
) -> NDArray[np.float64]:
    """Predicted loss [levels] of one group's weights; the model is unchanged.

    moments: H of the dense model's layers, by which they are repaired; weighted: G, by which the
    error that is left counts (weighted_moments.py).
    """
    return np.array(
        [loss_of_changes(model, refitted(model, level, moments, damping), weighted)
         for level in kept]
    )  # fmt: skip
