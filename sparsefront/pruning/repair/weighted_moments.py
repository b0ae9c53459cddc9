"""Second moments of layers' inputs weighted by what each output position matters to the loss.

For one layer with inputs x_n and output gradients g_n at position n (of one frame's loss),

    G = 1/frames sum_n |g_n|^2 / outputs x_n x_n^T,    loss rise ~ 1/2 sum_i d_i^T G d_i

for changes d_i of its outputs' weights: the Gauss-Newton form with the gradients' second moment in
place of the Hessian, positions and outputs taken as independent. Unlike plain H it has the same
unit in every layer, so layers and modalities compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.gradients import Loss, check_reached, finite_loss
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.repair.layer_inputs import inputs_of
from sparsefront.pruning.repair.matrices import as_rows
from sparsefront.pruning.repair.moments import Moments, owners, weight_names
from sparsefront.pruning.weights import is_sparse_convolution, prunable_weights, weight_fields

MOST_POSITIONS = 600
"""Of one layer and batch, among those whose gradient is not zero."""


def weighted_moments(
    model: nn.Module, batches: Sequence[Any], loss: Loss, *, most: int = MOST_POSITIONS
) -> Moments:
    """G of every weight that multiplies, over the batches; the model is unchanged.

    Give batches of one frame: the gradient of a mean over frames is not theirs. Where a layer's
    outputs are not seen (attention's projections, kinds that layer_inputs does not know), G is
    diagonal: the weight's own squared gradients, their mean over outputs. InputError for no
    batches, ArithmeticError for a loss that is not finite.
    """
    if len(batches) == 0:
        raise InputError("batches: none given; allowed: at least one")
    found: Moments = {}
    unseen: dict[str, Any] = {}
    random = torch.Generator().manual_seed(0)
    hook = _Watcher(weight_names(model), found, random, most)
    layers = [
        module
        for module in model.modules()
        if weight_fields(module) and not isinstance(module, nn.MultiheadAttention)
    ]
    handles = [layer.register_forward_hook(hook.after, with_kwargs=True) for layer in layers]
    try:
        weights, layer_of = prunable_weights(model), owners(model)
        with scoring_mode(model, weights, weights_too=False):
            for batch in batches:
                with torch.enable_grad():
                    finite_loss(model, batch, loss).backward()
                check_reached(weights)
                for name, weight in weights.items():
                    if name not in found and weight.grad is not None:
                        each = as_rows(layer_of[name], weight.grad.square()).mean(1)
                        unseen[name] = unseen.get(name, 0) + each
                model.zero_grad(set_to_none=True)
    finally:
        for handle in handles:
            handle.remove()
    found |= {n: torch.diag_embed(each) for n, each in unseen.items() if n not in found}
    return {name: moment / len(batches) for name, moment in found.items()}


def loss_of_changes(
    model: nn.Module, changes: Mapping[str, Tensor], moments: Mapping[str, Tensor]
) -> float:
    """1/2 sum of d^T G d over the outputs of the changed weights (name -> w' - w) that have a G."""
    layer_of = owners(model)
    total = 0.0
    for name, change in changes.items():
        if name in moments:
            rows = as_rows(layer_of[name], change)  # [groups, outputs, columns]
            moment = moments[name].to(change.device)
            total += float(((rows @ moment) * rows).sum()) / 2
    return total


class _Watcher:
    """Notes each layer's inputs on the way, and sums G when the gradient comes back."""

    def __init__(
        self,
        names: Mapping[tuple[nn.Module, str], str],
        found: Moments,
        random: torch.Generator,
        most: int,
    ) -> None:
        self._names, self._found, self._random, self._most = names, found, random, most

    def after(self, module: Any, inputs: Any, kwargs: Any, output: Any) -> None:
        answers = output.features if is_sparse_convolution(module) else output
        if not answers.requires_grad:
            return
        held = output if is_sparse_convolution(module) else output.detach()

        def back(gradient: Tensor) -> None:
            with torch.no_grad():
                self._add(module, inputs, kwargs, held, _by_position(module, gradient))

        answers.register_hook(back)

    def _add(self, module: Any, inputs: Any, kwargs: Any, held: Any, mattering: Tensor) -> None:
        chosen = mattering.nonzero().squeeze(1)
        if len(chosen) == 0:
            return
        share = 1.0
        if len(chosen) > self._most:
            order = torch.randperm(len(chosen), generator=self._random)[: self._most]
            share = self._most / len(chosen)
            chosen = chosen[order.sort().values.to(chosen.device)]
        for part in inputs_of(module, inputs, kwargs, held, lambda positions, columns: chosen):
            name = self._names.get((module, part.field))
            if name is None:
                continue
            rows = part.rows.detach() * (mattering[chosen] / share).sqrt()[None, :, None]
            sum_ = rows.transpose(1, 2) @ rows
            self._found[name] = self._found[name] + sum_ if name in self._found else sum_


def _by_position(module: nn.Module, gradient: Tensor) -> Tensor:
    """|g_n|^2 / outputs of every position, in the order of layer_inputs."""
    last = isinstance(module, nn.Linear) or is_sparse_convolution(module)
    if not last:  # [B, C, ...] or [C, ...]
        weight = module.weight
        assert isinstance(weight, Tensor)
        gradient = gradient.movedim(1 if gradient.ndim == weight.ndim else 0, -1)
    return gradient.reshape(-1, gradient.shape[-1]).square().mean(1)
