"""IMP: iterative magnitude pruning, rewound (Frankle & Carbin, ICLR 2019, sec. 1, strategy 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss, check_reached, finite_loss
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask, top_masks
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import prunable_weights


@dataclass(frozen=True, kw_only=True)
class IMP(CriterionBase):
    """Train, prune `rate` of the survivors by |w|, rewind them, again, until `sparsity` is reached.

    The threshold is over all prunable weights. A score is the round that a weight survived to plus
    its scaled |w| there, so the mask at `sparsity` is IMP's own and any other follows its order.

    rate          p, the fraction of the survivors removed a round; the last round removes less
    sparsity      1 - density in the end
    steps         training steps a round, over the batches again and again
    lr, optimizer of that training
    rewind_steps  steps of training before the point to which survivors are rewound; 0: the start
    """

    name: Literal["imp"] = "imp"
    rate: float = 0.2
    sparsity: float = 0.8
    steps: int = 8
    lr: float = 1e-4
    optimizer: Literal["adam", "sgd"] = "adam"
    rewind_steps: int = 0

    def __post_init__(self) -> None:
        for option in ("rate", "sparsity"):
            if not 0 < getattr(self, option) < 1:
                raise InputError(f"{option}: value {getattr(self, option)!r}; allowed: 0 < x < 1")
        for option in ("steps", "rewind_steps"):
            if getattr(self, option) < 0:
                raise InputError(f"{option}: value {getattr(self, option)!r}; allowed: 0 and above")

    def densities(self) -> list[float]:
        """Density after each round: (1 - p)^k, the last one 1 - sparsity."""
        found = []
        density = 1 - self.rate
        while density > 1 - self.sparsity:
            found.append(density)
            density *= 1 - self.rate
        return [*found, 1 - self.sparsity]

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        if len(batches) == 0 and self.steps + self.rewind_steps > 0:
            raise InputError("batches: none given; allowed: at least one")
        weights = prunable_weights(model)
        mask = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
        survival = {n: torch.zeros_like(w, device="cpu") for n, w in weights.items()}
        with scoring_mode(model, weights) as start:
            if self.rewind_steps:
                self._train(model, mask, batches, loss, self.rewind_steps)
                start = {n: t.detach().clone() for n, t in model.state_dict().items()}
            for density in self.densities():
                _rewind(model, start)
                self._train(model, mask, batches, loss, self.steps)
                magnitude = _half_of_largest(weights, mask)
                survivors = _survivors(magnitude, mask, density)
                for name in weights:
                    lost = mask[name] & ~survivors[name]
                    found = magnitude[name].masked_fill_(~lost, 0) + survivors[name]
                    survival[name] += found.cpu()
                mask = survivors
                del magnitude, lost, found  # before the next training: memory
            magnitude = _half_of_largest(weights, mask)
            return {"survival": {n: s.add_(magnitude[n].cpu()) for n, s in survival.items()}}

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        return ImportanceScores(statistics["survival"])

    def _train(
        self,
        model: nn.Module,
        mask: Mapping[str, Tensor],
        batches: Sequence[Any],
        loss: Loss,
        steps: int,
    ) -> None:
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.SGD
        optimizer = kind([p for p in model.parameters() if p.requires_grad], lr=self.lr)
        with PruningMask(mask).hold(model, optimizer), torch.enable_grad():
            for batch in islice(cycle(batches), steps):
                optimizer.zero_grad()
                finite_loss(model, batch, loss).backward()
                check_reached({n: p for n, p in model.named_parameters() if n in mask})
                optimizer.step()
        optimizer.zero_grad()
        optimizer.state.clear()  # now, not when the garbage collector comes by


@torch.no_grad()
def _rewind(model: nn.Module, start: Mapping[str, Tensor]) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in start:
            tensor.copy_(start[name])


@torch.no_grad()
def _half_of_largest(
    weights: Mapping[str, Tensor], mask: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """|w| of the survivors scaled to 0..1/2, so that it orders weights within one round."""
    found = {n: w.detach().abs().masked_fill_(~mask[n], 0) for n, w in weights.items()}
    largest = max(float(magnitude.max()) for magnitude in found.values())
    scale = 0.5 / largest if largest > 0 else 0.0
    return {n: magnitude.mul_(scale) for n, magnitude in found.items()}


def _survivors(
    magnitude: Mapping[str, Tensor], mask: Mapping[str, Tensor], density: float
) -> dict[str, Tensor]:
    """The largest `density` share of all weights, among those that are left; the magnitudes of the
    others become -1.
    """
    values = [m.masked_fill_(~mask[n], -1) for n, m in magnitude.items()]
    kept = top_masks(values, round(density * sum(v.numel() for v in values)))
    return dict(zip(magnitude, kept, strict=True))
