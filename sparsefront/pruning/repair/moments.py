"""Second moments of every layer's inputs, H = X X^T: all that a refit of its weights asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.preserved import kept_modes
from sparsefront.pruning.repair.layer_inputs import inputs_of, is_known
from sparsefront.pruning.weights import counted_weights, weight_fields

POSITIONS_PER_COLUMN = 10
"""Of one layer over all frames: more change nothing that can be measured."""
LEAST_POSITIONS = 500
"""Of one layer and frame."""

Moments = dict[str, Tensor]
"""Weight name -> [groups or 1, columns, columns], columns as in matrices.as_rows."""


@dataclass
class PositionSampler:
    """At most so many positions of each layer and call, spread evenly, the same ones every time."""

    batch_size: int
    frames: int
    seed: int = 0
    least: int = LEAST_POSITIONS

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def __call__(self, positions: int, columns: int) -> Tensor:
        """Rows [P] of positions, rising: one at random from each of P equal parts."""
        per_frame = max(self.least, -(-POSITIONS_PER_COLUMN * columns // self.frames))
        wanted = self.batch_size * per_frame
        if positions <= wanted:
            return torch.arange(positions)
        within = torch.rand(wanted, generator=self._generator, dtype=torch.float64)
        return ((torch.arange(wanted) + within) * (positions / wanted)).long()


def second_moments(
    model: nn.Module,
    batches: Sequence[Any],
    forward: Forward = call,
    *,
    batch_size: int = 1,
    all_positions: bool = False,
) -> Moments:
    """H of every weight that multiplies, over forward(model, batch) in eval mode, divided by the
    number of positions looked at. The model is unchanged.

    batch_size: frames of a batch, as sampled positions are counted by frame. all_positions: none is
    left out. A weight that several layers or calls use has the sum. Left out are weights of layers
    that never run or whose kind is not known (see `unknown_kinds`). InputError for no batches and
    for inputs that are not finite.
    """
    if len(batches) == 0:
        raise InputError("repair: no batches given; allowed: at least one")
    every = sampler_of_all if all_positions else None
    sampler = every or PositionSampler(batch_size, batch_size * len(batches))
    sums: Moments = {}
    seen: dict[str, int] = {}

    def add(name: str, rows: Tensor) -> None:
        found = rows.transpose(1, 2) @ rows
        sums[name] = found if name not in sums else sums[name] + found
        seen[name] = seen.get(name, 0) + rows.shape[1]

    with watched(model, weight_names(model), sampler, add), torch.no_grad():
        for batch in batches:
            forward(model, batch)
    for name, moment in sums.items():
        if not torch.isfinite(moment).all():
            raise InputError(
                f"repair: the inputs of {name} are not finite; allowed: frames and weights for "
                "which the model's activations are"
            )
        sums[name] = moment / max(1, seen[name])
    return sums


def sampler_of_all(positions: int, columns: int) -> Tensor:
    """Every position."""
    return torch.arange(positions)


@contextmanager
def watched(
    model: nn.Module,
    names: Mapping[tuple[nn.Module, str], str],
    choose: Callable[[int, int], Tensor],
    see: Callable[[str, Tensor], None],
) -> Iterator[None]:
    """While open, see(weight name, rows [groups or 1, positions, columns]) is called at each call
    of a layer among `names`; the model is in eval mode.
    """

    def hook(module: nn.Module, inputs: Any, kwargs: Any, output: Any) -> None:
        for part in inputs_of(module, inputs, kwargs, output, choose):
            if (module, part.field) in names:
                see(names[module, part.field], part.rows)

    layers = dict.fromkeys(module for module, _ in names if weight_fields(module))
    handles = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers]
    try:
        with kept_modes(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def weight_names(model: nn.Module) -> dict[tuple[nn.Module, str], str]:
    """(layer, its field) -> the weight's name: one for all layers that share a tensor. The output
    projection is a field of its attention, which never calls that layer.
    """
    names = {id(weight): name for name, weight in counted_weights(model)}
    found = {
        (module, field): names[id(getattr(module, field))]
        for module in model.modules()
        for field in weight_fields(module)
        if id(getattr(module, field)) in names
    }
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            found[module, "out_proj.weight"] = names[id(module.out_proj.weight)]
    return found


def owners(model: nn.Module) -> dict[str, nn.Module]:
    """Weight name -> the first layer that has it."""
    found: dict[str, nn.Module] = {}
    for (module, field), name in weight_names(model).items():
        if field != "out_proj.weight":
            found.setdefault(name, module)
    return found


def unknown_kinds(model: nn.Module) -> dict[str, str]:
    """Weight name -> the kind of its layer, where that kind's inputs are not known."""
    return {
        name: type(module).__name__
        for name, module in owners(model).items()
        if not is_known(module)
    }
