"""ProsPr: pruning that looks ahead through training (Alizadeh et al., ICLR 2022, alg. 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparsefront.errors import InputError
from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.sparse_autograd import plain_sparse_layers
from sparsefront.pruning.weights import filter_axis, prunable_weights


@dataclass(frozen=True, kw_only=True)
class ProsPr(CriterionBase):
    """|dL(w_T)/dm| with a mask m = 1 on each initial weight and T steps of SGD in between.

    num_steps     T; lr, momentum: of plain SGD on all trainable parameters
    second_order  differentiate through the steps; otherwise |w_0 dL(w_T)/dw_T|
    new_data      another batch in every step and for the loss; otherwise the first one throughout
    structured    one mask value a filter: |sum over the filter|, given to each of its weights

    Momentum is differentiated too, from its first step; the authors' code detaches that first
    buffer, so its scores differ where momentum > 0.
    """

    name: Literal["prospr"] = "prospr"
    num_steps: int = 3
    lr: float = 0.1
    momentum: float = 0.0
    second_order: bool = True
    new_data: bool = False
    structured: bool = False

    def __post_init__(self) -> None:
        if self.num_steps < 0:
            raise InputError(f"num_steps: value {self.num_steps!r}; allowed: 0 and above")

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        used = self._batches(batches)
        weights = prunable_weights(model)
        with scoring_mode(model, weights, weights_too=False), plain_sparse_layers(model):
            slopes = self._meta_gradients(model, weights, used, loss)
        scores = {name: slopes[name].mul_(weights[name].detach()) for name in weights}
        if self.structured:
            scores = {name: _by_filter(s, filter_axis(model, name)) for name, s in scores.items()}
        return {"meta": {name: score.abs_() for name, score in scores.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["meta"], channels="filter" if self.structured else "sum")

    def _batches(self, batches: Sequence[Any]) -> list[Any]:
        """One batch a step, and one for the loss at the end."""
        wanted = self.num_steps + 1 if self.new_data else 1
        if len(batches) < wanted:
            raise InputError(
                f"batches: {len(batches)} given; allowed with num_steps {self.num_steps} and "
                f"new_data {self.new_data}: at least {wanted}"
            )
        return [batches[step if self.new_data else 0] for step in range(self.num_steps + 1)]

    def _meta_gradients(
        self, model: nn.Module, weights: Mapping[str, nn.Parameter], batches: list[Any], loss: Loss
    ) -> dict[str, Tensor]:
        """dL(w_T)/dw_0, or dL(w_T)/dw_T in first order, by weight name."""
        start = {n: p for n, p in model.named_parameters() if p.requires_grad}
        current: dict[str, Tensor] = dict(start)
        velocity: dict[str, Tensor] = {}
        for batch in batches[:-1]:
            self._step(model, current, velocity, batch, loss)
            if not self.second_order:
                current = {n: t.detach().requires_grad_(True) for n, t in current.items()}
        at = start if self.second_order else current
        value = _loss_at(model, current, batches[-1], loss)
        found = torch.autograd.grad(value, [at[n] for n in weights], allow_unused=True)
        return {
            name: torch.zeros_like(weights[name]) if slope is None else slope.detach()
            for name, slope in zip(weights, found, strict=True)
        }

    def _step(
        self,
        model: nn.Module,
        current: dict[str, Tensor],
        velocity: dict[str, Tensor],
        batch: Any,
        loss: Loss,
    ) -> None:
        """One step of SGD, in place in the two dicts; without momentum there is no velocity."""
        slopes = self._slopes(model, current, batch, loss, self.second_order)
        for name in list(slopes):
            slope = slopes.pop(name)
            if self.momentum > 0:
                if name in velocity:
                    slope = self.momentum * velocity[name] + slope
                velocity[name] = slope
            current[name] = current[name] - self.lr * slope

    def _slopes(
        self, model: nn.Module, at: Mapping[str, Tensor], batch: Any, loss: Loss, graph: bool
    ) -> dict[str, Tensor]:
        value = _loss_at(model, at, batch, loss)
        found = torch.autograd.grad(value, list(at.values()), create_graph=graph, allow_unused=True)
        return {name: s for name, s in zip(at, found, strict=True) if s is not None}


class _LossOf(nn.Module):
    """loss(model, batch) as a module, so that functional_call can give it other parameters."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.model, batch)


def _loss_at(model: nn.Module, at: Mapping[str, Tensor], batch: Any, loss: Loss) -> Tensor:
    with torch.enable_grad():
        given = {f"model.{name}": tensor for name, tensor in at.items()}
        value: Tensor = functional_call(_LossOf(model, loss), given, (batch,))
    if not torch.isfinite(value):
        raise ArithmeticError(f"scoring loss is not finite: {value.item()}")
    return value


def _by_filter(product: Tensor, axis: int) -> Tensor:
    others = [a for a in range(product.ndim) if a != axis]
    return product.sum(dim=others, keepdim=True).expand_as(product).clone()
