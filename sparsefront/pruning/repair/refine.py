"""Refits a repaired model once more, with the inputs that its own layers now have.

Layers in the order they run, a few at a time: with the pruned model's inputs X^ and the dense
one's X, the kept weights of an output minimise |X^ w' - X w|^2 + lambda |w' - w|^2, so

    w'_S = (X^ X^^T + lambda I)_SS^-1 (X^ X^T w + lambda w)_S

and later layers make up for what earlier ones could not mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.forward import Forward, call
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.matrices import as_rows, from_rows
from sparsefront.pruning.repair.moments import (
    PositionSampler,
    owners,
    sampler_of_all,
    watched,
    weight_names,
)
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.pruning.repair.refit import refit_to

TOGETHER = 6
"""Layers that are refitted from one look at their inputs: a pass over the frames each."""
POSITIONS = 4000
"""Of one layer and frame. Answers are fitted here that the inputs do not explain, so it takes more
of them than a refit with the dense model's own inputs.
"""


@torch.no_grad()
def refine(
    model: nn.Module,
    dense: nn.Module,
    mask: PruningMask,
    batches: Sequence[Any],
    forward: Forward = call,
    *,
    damping: float = 0.01,
    batch_size: int = 1,
    all_positions: bool = False,
) -> None:
    """Refits the kept weights of `model`, already cut to the mask, in place, towards the answers of
    `dense`; batch norms are measured again on the way. An output stays as it is where that would
    not lessen its error on the frames.

    batch_size, all_positions: as in moments.second_moments. InputError for no batches.
    """
    if len(batches) == 0:
        raise InputError("repair: no batches given; allowed: at least one")
    order = [n for n in _in_order(model, batches[0], forward) if n in mask.by_weight]
    parameters, originals = dict(model.named_parameters()), dict(dense.named_parameters())
    layer_of = owners(model)
    for start in range(0, len(order), TOGETHER):
        names = order[start : start + TOGETHER]
        reestimate_norms(model, batches, forward)  # as later layers will see these
        pairs = _Pairs(model, dense, names)
        sampler = (batch_size, batch_size * len(batches))
        for batch in batches:
            pairs.look(batch, forward, None if all_positions else sampler)
        for name in names:
            weight, layer = parameters[name], layer_of[name]
            kept = mask.by_weight[name].to(weight.device)
            rows = [as_rows(layer, t) for t in (weight, originals[name], kept)]
            squares, products = pairs.squares[name], pairs.products[name]
            if len(squares) == 1:  # all outputs read the same
                rows = [part.flatten(0, 1)[None] for part in rows]
            found = [
                refit_to(now, w, stays, h, c, damping)
                for now, w, stays, h, c in zip(*rows, squares, products, strict=True)
            ]
            shape = as_rows(layer, weight).shape
            weight.copy_(from_rows(layer, torch.cat(found).reshape(shape), weight))


class _Pairs:
    """X^ X^^T and X^ X^T of some layers, over all batches that were looked at."""

    def __init__(self, model: nn.Module, dense: nn.Module, names: Sequence[str]) -> None:
        self.squares: dict[str, Tensor] = {}
        self.products: dict[str, Tensor] = {}
        self._looks = 0
        self._models = (dense, model)
        self._names = [
            {key: name for key, name in weight_names(m).items() if name in names}
            for m in self._models
        ]

    def look(self, batch: Any, forward: Forward, sampler: tuple[int, int] | None) -> None:
        seen: list[dict[str, list[Tensor]]] = [{}, {}]
        for model, names, rows in zip(self._models, self._names, seen, strict=True):
            # the same positions of both models
            choose = (
                sampler_of_all
                if sampler is None
                else PositionSampler(*sampler, seed=self._looks, least=POSITIONS)
            )
            with watched(model, names, choose, _into(rows)):
                forward(model, batch)
        self._looks += 1
        for name, now in seen[1].items():
            for x, before in zip(now, seen[0][name], strict=True):
                self._add(self.squares, name, x.transpose(1, 2) @ x)
                self._add(self.products, name, x.transpose(1, 2) @ before)

    @staticmethod
    def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
        sums[name] = sums[name] + value if name in sums else value


def _into(rows: dict[str, list[Tensor]]) -> Any:
    def see(name: str, found: Tensor) -> None:
        rows.setdefault(name, []).append(found)

    return see


def _in_order(model: nn.Module, batch: Any, forward: Forward) -> list[str]:
    """Weight names by when their layers first run."""
    seen: dict[str, None] = {}

    def one(positions: int, columns: int) -> Tensor:
        return torch.arange(min(1, positions))

    def see(name: str, rows: Tensor) -> None:
        seen.setdefault(name)

    with watched(model, weight_names(model), one, see):
        forward(model, batch)
    return list(seen)
