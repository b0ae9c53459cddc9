"""Leave a model exactly as it was: weights, buffers, modes, gradients, random state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def preserve_model(model: nn.Module, *, weights_too: bool = True) -> Iterator[dict[str, Tensor]]:
    """Restores the model and the random generators on leaving, after an error too.

    Yields copies of its tensors by name, which must not be written to. weights_too = False saves
    the copy of the parameters, for work that only reads them.
    """
    tensors = _tensors(model) if weights_too else list(model.named_buffers())
    state = {name: tensor.detach().clone() for name, tensor in tensors}
    modes = {module: module.training for module in model.modules()}
    needs_grad = {p: (p.requires_grad, p.grad) for p in model.parameters()}
    generators = _random_state()
    try:
        yield state
    finally:
        with torch.no_grad():
            for name, tensor in tensors:
                tensor.copy_(state[name])
        for module, mode in modes.items():
            module.training = mode
        for parameter, (required, gradient) in needs_grad.items():
            parameter.requires_grad_(required)
            parameter.grad = gradient
        _restore_random(generators)


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _random_state() -> tuple[object, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()


def _restore_random(state: tuple[object, ...]) -> None:
    cpu, cuda, python, numpy = state
    torch.set_rng_state(cpu)  # type: ignore[arg-type]
    if cuda:
        torch.cuda.set_rng_state_all(cuda)  # type: ignore[arg-type]
    random.setstate(python)  # type: ignore[arg-type]
    np.random.set_state(numpy)  # type: ignore[arg-type]


@contextmanager
def scoring_mode(
    model: nn.Module, weights: Mapping[str, nn.Parameter], *, weights_too: bool = True
) -> Iterator[dict[str, Tensor]]:
    """preserve_model with the model in eval mode and gradients on for the weights."""
    with preserve_model(model, weights_too=weights_too) as state:
        model.eval()
        for weight in weights.values():
            weight.requires_grad_(True)
        yield state
