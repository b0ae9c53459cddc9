"""Exponential moving average of a model's state, as training keeps it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """state <- d state + (1 - d) new, with d = min(decay, (1 + n) / (10 + n)) at the n-th update,
    so that the first steps are forgotten soon. Integer buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.state: dict[str, Tensor] = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items()
        }
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and decay > 0:
                self.state[name].lerp_(tensor, 1 - decay)
            else:
                self.state[name].copy_(tensor)

    def copy_to(self, model: nn.Module) -> None:
        model.load_state_dict(self.state)

    def load(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Goes on from a saved state, after so many updates."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
        self._updates = updates
