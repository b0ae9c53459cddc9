"""A pruned model's tensors: weights, what stays of each, and the channels that are left."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sparsefront.pruning.channels.removal import Kept
from sparsefront.pruning.mask import PruningMask


@dataclass(frozen=True, kw_only=True)
class PrunedWeights:
    """Everything that a pruned model is beside its spec; tensors on the CPU.

    state     the whole state dict at full size, pruned weights zero
    mask      bool, True = kept, of each prunable weight and shaped like it
    channels  positions left along each axis of each tensor, where whole channels were removed
    """

    state: dict[str, Tensor]
    mask: dict[str, Tensor]
    channels: Kept = field(default_factory=dict)

    def to_hold(self) -> PruningMask:
        """What training has to hold at zero: biases and norms of removed channels too."""
        tied = {}
        for name, axes in self.channels.items():
            is_vector = name not in self.mask and self.state[name].ndim == 1
            if is_vector and not name.endswith(RUNNING_STATISTICS):
                kept = self.state[name].new_zeros(len(self.state[name])).bool()
                kept[axes[0]] = True
                tied[name] = kept
        return PruningMask(self.mask, tied, self.channels)

    def sparsity(self) -> float:
        """Fraction removed of all prunable weights."""
        kept = sum(int(mask.sum()) for mask in self.mask.values())
        return 1 - kept / sum(mask.numel() for mask in self.mask.values())


RUNNING_STATISTICS = ("running_mean", "running_var")
"""Buffers of batch norms, which no optimizer moves."""
