"""Running statistics of batch norms, measured again on the model as it is now.

They belong to the activations of the model they were collected on: after pruning and a few steps
most of the dense model's are left (a share (1 - momentum)^steps). EagleEye (Li et al., ECCV 2020)
ranks pruned networks only after measuring them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparsefront.errors import InputError
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.preserved import kept_modes


def reestimate_norms(
    model: nn.Module, batches: Sequence[Any], forward: Forward = call
) -> tuple[str, ...]:
    """Replaces the running mean and variance of every BatchNorm (dense, sparse or synchronised) by
    the average of its batches' means and unbiased variances over forward(model, batch), in place.

    While it runs the norms use each batch's own statistics, as in training; all other layers are in
    eval mode. Modes and momenta are as before afterwards. Norms that keep no statistics cost
    nothing: where there are no others, nothing runs. Returns the norms that saw no input; theirs
    are as before. InputError for no batches, for statistics that are not finite and for a norm that
    sees a single value a channel; the model is then as it was.
    """
    norms = {name: module for name, module in model.named_modules() if _has_statistics(module)}
    if not norms:
        return ()
    if len(batches) == 0:
        raise InputError("norm re-estimation: no batches given; allowed: at least one")
    before = {name: _state(norm) for name, norm in norms.items()}
    try:
        with _averaging(model, norms.values()), torch.no_grad():
            for batch in batches:
                _run(model, batch, forward)
        unseen = tuple(name for name, norm in norms.items() if not norm.num_batches_tracked)
        for name, norm in norms.items():
            if name in unseen:
                _restore(norm, before[name])
            _require_finite(name, norm)
    except BaseException:
        for name, norm in norms.items():
            _restore(norm, before[name])
        raise
    return unseen


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


@contextmanager
def _averaging(model: nn.Module, norms: Any) -> Iterator[None]:
    """Norms in training mode with a cumulative average, everything else in eval mode."""
    momenta = {norm: norm.momentum for norm in norms}
    with kept_modes(model):
        for norm in momenta:
            norm.reset_running_stats()
            norm.momentum = None
            norm.training = True
        try:
            yield
        finally:
            for norm, momentum in momenta.items():
                norm.momentum = momentum


def _run(model: nn.Module, batch: Any, forward: Forward) -> None:
    try:
        forward(model, batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"norm re-estimation: {error}; allowed: batches with several frames or positions"
        ) from error


def _state(norm: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in norm.named_buffers(recurse=False)}


def _restore(norm: Any, state: dict[str, torch.Tensor]) -> None:
    for name, value in norm.named_buffers(recurse=False):
        value.copy_(state[name])


def _require_finite(name: str, norm: Any) -> None:
    for what in (norm.running_mean, norm.running_var):
        if not torch.isfinite(what).all():
            raise InputError(
                f"norm re-estimation: the statistics of {name} are not finite; allowed: frames and "
                "weights for which the model's activations are"
            )
