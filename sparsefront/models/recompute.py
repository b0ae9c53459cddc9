"""Activation checkpointing (Chen et al., 2016): a block's activations are computed again in the
backward pass instead of kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sparsefront.errors import InputError

BACKBONE = "camera.backbone."


class RecomputedBlock(nn.Module):
    """A block that takes tensors and keeps only its inputs while `recompute` is on."""

    recompute = False

    def __call__(self, *inputs: Any) -> Any:
        if not (self.recompute and torch.is_grad_enabled()):
            return super().__call__(*inputs)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _norms_stay(self)

        return checkpoint(super().__call__, *inputs, use_reentrant=False, context_fn=contexts)


def recompute_backbone(model: nn.Module) -> None:
    """Switches it on for the camera backbone. InputError where that has no such block."""
    found = [
        module
        for name, module in model.named_modules()
        if name.startswith(BACKBONE) and isinstance(module, RecomputedBlock)
    ]
    if not found:
        raise InputError(
            f"checkpoint_activations: value True; {type(model).__name__} has no residual or "
            f"attention block in {BACKBONE[:-1]}; allowed: False"
        )
    for block in found:
        block.recompute = True


@contextmanager
def _norms_stay(block: nn.Module) -> Iterator[None]:
    """Batch norms use their batch's statistics as before, and count the batch no second time."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [None if n.num_batches_tracked is None else n.num_batches_tracked + 0 for n in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
