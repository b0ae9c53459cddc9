"""Checks that removing channels gives the masked model's outputs, before a graph is relied on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.channels.flow import tensors_of
from sparsefront.pruning.channels.graph import ChannelGraph
from sparsefront.pruning.channels.removal import shrink
from sparsefront.pruning.channels.select import kept_positions, weight_masks
from sparsefront.pruning.forward import Forward, call

TOLERANCE = 1e-3
"""Of an output's largest value: float32 sums of another order stay well below it."""
MAX_SHARE_OFF = 0.05
"""Elements of an output that may be off: near ties (a peak, a sort) flip by rounding."""
ROUNDING = 1e-6
"""Relative change of the weights that shows what rounding alone moves."""


@torch.no_grad()
def verify(model: nn.Module, batch: Any, graph: ChannelGraph, forward: Forward = call) -> None:
    """Removes every second channel of every set of tied layers and compares forward's outputs.

    InputError where they differ: the model then uses its channels in a way that the graph does not
    see (a size written in its code, say). Up to 5 % of an output's elements may be off by more than
    1e-3 of the largest; of outputs that sort (proposals by score), as many more as swap places by
    rounding alone, but never half. It works on copies.
    """
    kept = _every_second(graph)
    masked = copy.deepcopy(model).eval()
    parameters = dict(masked.named_parameters())
    for name, mask in weight_masks(graph, kept, parameters).items():
        parameters[name].masked_fill_(~mask, 0)
    wanted = tensors_of(forward(masked, batch))
    try:
        found = tensors_of(forward(shrink(masked, kept_positions(graph, kept)), batch))
    except (RuntimeError, AssertionError, IndexError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"channels: the model does not run without half of them ({reason}); allowed: models "
            "that take sizes from their tensors, or name such weights in unprunable()"
        ) from error
    if not _same(found, wanted, lambda: tensors_of(forward(_rounded(masked), batch))):
        raise InputError(
            "channels: outputs without half of them differ from those with them at zero; "
            "allowed: models whose use of channels does not depend on their number or position"
        )


def _every_second(graph: ChannelGraph) -> Tensor:
    kept = torch.ones(len(graph), dtype=torch.bool)
    seen: dict[tuple[str, ...], int] = {}
    for unit, makers in enumerate(graph.made_by):
        seen[makers] = seen.get(makers, -1) + 1
        kept[unit] = seen[makers] % 2 == 0
    return kept


def _same(
    found: list[Tensor], wanted: list[Tensor], by_rounding: Callable[[], list[Tensor]]
) -> bool:
    if [t.shape for t in found] != [t.shape for t in wanted]:
        return False
    off = [_share_off(a, b) for a, b in zip(found, wanted, strict=True)]
    if max(off, default=0.0) <= MAX_SHARE_OFF:
        return True
    swapped = [_share_off(a, b) for a, b in zip(by_rounding(), wanted, strict=True)]
    return all(a <= min(MAX_SHARE_OFF + 2 * b, 0.5) for a, b in zip(off, swapped, strict=True))


def _share_off(found: Tensor, wanted: Tensor) -> float:
    if not wanted.is_floating_point() or wanted.numel() == 0:
        return 0.0
    off = (found - wanted).abs() > TOLERANCE * wanted.abs().max()
    return float(off.float().mean())


def _rounded(model: nn.Module) -> nn.Module:
    """The model with its weights changed as little as another order of summing would."""
    random = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=random).to(weight)
        weight.mul_(1 + ROUNDING * noise)
    return model
