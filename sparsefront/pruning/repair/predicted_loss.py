"""The loss that a cut costs after its repair, to second order, for many sparsities at once.

With g_b the gradient of batch b at the dense weights w, and w' the weights after cut and repair,
the loss rises by about 1/2 mean_b (g_b^T (w' - w))^2: the empirical Fisher matrix in place of the
Hessian, whole and not its diagonal. It is summed by group of weights first, so that what camera
and LiDAR change together shows:

    v_ba = sum over weights i of group a of g_b,i (w'_i - w_i),    1/2 mean_b (sum_a v_ba)^2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.gradients import Loss, gradients
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.repair.least_squares import refitted
from sparsefront.pruning.weights import prunable_weights

Floats = NDArray[np.float64]
KeptByLevel = Sequence[Mapping[str, Tensor]]
"""At each sparsity of a group: weight name -> bool, True is kept."""


def repaired_products(
    model: nn.Module,
    kept: Mapping[str, KeptByLevel],
    moments: Mapping[str, Tensor],
    batches: Sequence[Any],
    loss: Loss,
    damping: float,
) -> dict[str, Floats]:
    """v by group [batches, levels]; the model is unchanged.

    kept: of each group, of its own weights alone. moments: H of the dense model's layers; weights
    that have none are cut and not repaired. InputError for no batches, ArithmeticError for a loss
    that is not finite.
    """
    if len(batches) == 0:
        raise InputError("batches: none given; allowed: at least one")
    changes = {
        group: [refitted(model, level, moments, damping) for level in levels]
        for group, levels in kept.items()
    }
    weights = prunable_weights(model)
    found = {group: np.zeros((len(batches), len(levels))) for group, levels in changes.items()}
    with scoring_mode(model, weights, weights_too=False):
        for at, batch in enumerate(batches):
            slopes = gradients(model, weights, batch, loss)
            for group, levels in changes.items():
                found[group][at] = [_product(slopes, change) for change in levels]
    return found


def predicted_loss(products: Mapping[str, Floats]) -> Floats:
    """1/2 mean_b (sum_a v_ba)^2 [...] of products [batches, ...] of each group."""
    total = np.sum(list(products.values()), axis=0)
    return np.asarray(np.square(total).mean(0) / 2)


def _product(slopes: Mapping[str, Tensor], change: Mapping[str, Tensor]) -> float:
    return sum(float((slopes[name] * value).sum()) for name, value in change.items())
