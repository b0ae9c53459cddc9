"""Leave a model exactly as it was: weights, buffers, modes, gradients, random state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from sparsefront.pruning.device import device_of, random_state, set_random_state
from sparsefront.pruning.weights import is_sparse_convolution


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
    device = device_of(model)
    generators = _random_state(device)
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
        _restore_random(device, generators)


@contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode; afterwards every module is in the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def eval_with_gradients(model: nn.Module) -> None:
    """Eval mode in which gradients can be taken. spconv's fast kernels build no graph in eval mode,
    and cuDNN's recurrent ones refuse to; both compute the same in either (but for a recurrent
    layer's dropout, which is why such a layer stays in eval mode).
    """
    model.eval()
    for module in model.modules():
        recurrent = isinstance(module, nn.RNNBase) and module.dropout == 0
        if recurrent or is_sparse_convolution(module):
            module.training = True


def _random_state(device: torch.device) -> tuple[object, ...]:
    own = random_state(device)
    return torch.get_rng_state(), own, random.getstate(), np.random.get_state()


def _restore_random(device: torch.device, state: tuple[object, ...]) -> None:
    cpu, own, python, numpy = state
    torch.set_rng_state(cpu)  # type: ignore[arg-type]
    set_random_state(device, own)  # type: ignore[arg-type]
    random.setstate(python)  # type: ignore[arg-type]
    np.random.set_state(numpy)  # type: ignore[arg-type]


@contextmanager
def scoring_mode(
    model: nn.Module, weights: Mapping[str, nn.Parameter], *, weights_too: bool = True
) -> Iterator[dict[str, Tensor]]:
    """preserve_model with the model in eval mode and gradients on for the weights."""
    with preserve_model(model, weights_too=weights_too) as state:
        eval_with_gradients(model)
        for weight in weights.values():
            weight.requires_grad_(True)
        yield state
