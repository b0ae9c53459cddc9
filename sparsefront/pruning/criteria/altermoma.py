"""AlterMOMA: alternate modality masking (Sun et al., NeurIPS 2024).

Mask one modality and train briefly: weights of the other that come alive again carry what both
extract. Each is scored by its importance (DeCI) less its redundancy (ReRI).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.criteria.criterion import CriterionBase, Statistics
from sparsefront.pruning.gradients import Loss, gradients, sum_gradients
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import scoring_mode
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.pruning.weights import filter_axis, prunable_weights

DECI = "deci"
RERI = "reri_without_"
ALONE = "deci_without_"
SIZE = "filter_size"
Weights = Mapping[str, nn.Parameter]


@dataclass(frozen=True, kw_only=True)
class AlterMOMA(CriterionBase):
    """AlterEva, eq. 11-13: alpha DeCI / sum DeCI - beta ReRI / sum ReRI, sums over the own group.

    What the paper leaves open is an option:

    fusion         group of fusion and heads; every other group is a backbone, masked in turn
    num_batches    B, batches of the reactivation; None: all that are given
    lr, optimizer  of the reactivation; the paper trains with Adam at 1e-4
    data           D of eq. 6 and of eq. 10's first gradient: the mean over the B batches, or D_1
    last_gradient  eq. 10's second gradient, on D_B: "after" its own update (at theta_B) or "before"
    structured     mask and weight of eq. 6 and 10 stand for whole filters: the products are summed
                   over each filter before the absolute value, sums run over filters
    masked         "parameters" zeroes all of the masked group, biases and norms too, so that it
                   contributes nothing; "weights" only its prunable weights
    redundancy     "reactivation": the paper's ReRI. "masking", of this project: DeCI measured with
                   the other modality masked against DeCI with both, r = (alone - both) / (alone +
                   both); score alpha DeCI / sum DeCI (1 - beta max(0, r)), a mean over the maskings
                   for fusion. Nothing is trained for it.
    """

    name: Literal["altermoma"] = "altermoma"
    alpha: float = 1.0
    beta: float = 1.0
    fusion: str = "fusion"
    num_batches: int | None = None
    lr: float = 1e-4
    optimizer: Literal["adam", "sgd"] = "adam"
    data: Literal["mean", "first"] = "mean"
    last_gradient: Literal["after", "before"] = "after"
    masked: Literal["parameters", "weights"] = "parameters"
    redundancy: Literal["reactivation", "masking"] = "reactivation"
    structured: bool = False

    def __post_init__(self) -> None:
        for option in ("alpha", "beta", "lr"):
            if not getattr(self, option) >= 0:
                raise InputError(f"{option}: value {getattr(self, option)!r}; allowed: 0 and above")
        if self.num_batches is not None and self.num_batches < 1:
            raise InputError(f"num_batches: value {self.num_batches!r}; allowed: 1 and above")

    def statistics(
        self, model: nn.Module, groups: ModalityGroups, batches: Sequence[Any], loss: Loss
    ) -> dict[str, dict[str, Tensor]]:
        batches = self._batches(batches)
        weights = prunable_weights(model)
        by_group = groups.assign(weights)
        axes = {n: filter_axis(model, n) for n in weights} if self.structured else {}
        found: dict[str, dict[str, Tensor]] = {}
        for group in backbones(by_group, self.fusion):
            others = {n: w for n, w in weights.items() if n not in by_group[group]}
            with scoring_mode(model, weights) as initial:
                self._mask(model, groups, group)
                if self.redundancy == "masking":
                    found[ALONE + group] = self._deci(model, others, batches, loss, axes)
                    continue
                change = self._change(model, others, initial, batches, loss)
            found[RERI + group] = _magnitudes(change, axes)
        with scoring_mode(model, weights):  # last, so that it never adds to a reactivation's memory
            found[DECI] = self._deci(model, weights, batches, loss, axes)
        if self.structured:
            sizes = {n: w.numel() / w.shape[axes[n]] for n, w in weights.items()}
            found[SIZE] = {
                n: torch.full_like(w, sizes[n], device="cpu") for n, w in weights.items()
            }
        return found

    def combine(self, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
        deci = statistics[DECI]
        sizes = statistics.get(SIZE, {})
        by_group = groups.assign(deci)
        masked = backbones(by_group, self.fusion)
        scores: dict[str, Tensor] = {}
        for group, names in by_group.items():
            maskings = [
                m for m in masked if m != group
            ]  # one for a backbone of two, two for fusion
            importance = _share(deci, names, sizes)
            if self.redundancy == "masking":
                alone = [statistics[ALONE + m] for m in maskings]
                for name in names:
                    spared = _made_up_for(deci[name], [each[name] for each in alone])
                    scores[name] = self.alpha * importance[name] * (1 - self.beta * spared)
                continue
            redundancy = [_share(statistics[RERI + m], names, sizes) for m in maskings]
            for name in names:
                score = self.alpha * importance[name]
                for share in redundancy:
                    score = score - self.beta / len(maskings) * share[name]
                scores[name] = score
        ordered = {name: scores[name] for name in deci}
        return ImportanceScores(ordered, channels="filter" if self.structured else "sum")

    def combine_only(self) -> frozenset[str]:
        return frozenset({"alpha", "beta"})

    def _batches(self, batches: Sequence[Any]) -> Sequence[Any]:
        wanted = len(batches) if self.num_batches is None else self.num_batches
        if len(batches) == 0 or wanted > len(batches):
            raise InputError(
                f"num_batches: value {self.num_batches!r} with {len(batches)} batches given; "
                "allowed: 1 and above, at most the batches given"
            )
        return batches[:wanted]

    def _deci(
        self,
        model: nn.Module,
        weights: Weights,
        batches: Sequence[Any],
        loss: Loss,
        axes: Mapping[str, int],
    ) -> dict[str, Tensor]:
        """|theta g(theta)| of the model as it is, eq. 6."""
        slope = self._initial_gradient(model, weights, batches, loss)
        products = {n: slope[n].mul_(w.detach()) for n, w in weights.items()}
        return _magnitudes(products, axes)

    def _initial_gradient(
        self, model: nn.Module, weights: Weights, batches: Sequence[Any], loss: Loss
    ) -> dict[str, Tensor]:
        used = batches if self.data == "mean" else batches[:1]
        summed = sum_gradients(model, weights, used, loss)
        return {name: gradient.div_(len(used)) for name, gradient in summed.items()}

    @torch.no_grad()
    def _mask(self, model: nn.Module, groups: ModalityGroups, group: str) -> None:
        prunable = set(prunable_weights(model))
        for name, parameter in model.named_parameters():
            if self.masked == "weights" and name not in prunable:
                continue
            if groups.group_of(name) == group:
                parameter.zero_()
                parameter.requires_grad_(False)

    def _change(
        self,
        model: nn.Module,
        weights: Weights,
        initial: Mapping[str, Tensor],
        batches: Sequence[Any],
        loss: Loss,
    ) -> dict[str, Tensor]:
        """theta_0 g(theta_0) - theta_0 g(theta_B), one modality masked: ReRI's inside, eq. 10."""
        before = self._initial_gradient(model, weights, batches, loss)
        for name, slope in before.items():
            slope.mul_(initial[name])
        after = self._reactivate(model, weights, batches, loss)
        return {n: before[n].sub_(initial[n] * after[n]) for n in weights}

    def _reactivate(
        self, model: nn.Module, weights: Weights, batches: Sequence[Any], loss: Loss
    ) -> dict[str, Tensor]:
        """One step a batch on all that is not masked; the last gradient, on D_B."""
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        step = torch.optim.Adam if self.optimizer == "adam" else torch.optim.SGD
        optimizer = step(trained.values(), lr=self.lr)
        last: dict[str, Tensor] = {}
        for batch in batches:
            last = gradients(model, trained, batch, loss)
            for name, parameter in trained.items():
                parameter.grad = last[name]
            optimizer.step()
        optimizer.zero_grad()
        optimizer.state.clear()  # now, not when the garbage collector comes by
        if self.last_gradient == "after":
            last = gradients(model, weights, batches[-1], loss)
        return {name: last[name] for name in weights}


def backbones(by_group: Mapping[str, tuple[str, ...]], fusion: str) -> list[str]:
    """Groups that are masked in turn. InputError with fewer than two of them."""
    found = [group for group, names in by_group.items() if names and group != fusion]
    if len(found) < 2:
        raise InputError(
            f"groups: {', '.join(by_group) or 'none'}; allowed for altermoma: at least two "
            f"modalities beside {fusion!r}"
        )
    return found


def _magnitudes(products: Mapping[str, Tensor], axes: Mapping[str, int]) -> dict[str, Tensor]:
    """Absolute values, on the CPU at once, as there are a model's worth of them for each masking;
    with axes, of the sum over each filter, which all its weights then carry.
    """
    if not axes:
        return {name: product.abs_().cpu() for name, product in products.items()}
    found = {}
    for name, product in products.items():
        others = [a for a in range(product.ndim) if a != axes[name]]
        found[name] = product.sum(others, keepdim=True).abs().expand_as(product).cpu().clone()
    return found


def _made_up_for(both: Tensor, alone: Sequence[Tensor]) -> Tensor:
    """0..1: how much of what a weight is worth alone the other modality makes up for."""
    shares = [((a - both) / (a + both).clamp_min(1e-30)).clamp_min(0) for a in alone]
    return torch.stack(shares).mean(0)


def _share(
    statistic: Mapping[str, Tensor], names: tuple[str, ...], sizes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Each value over the sum over its group (of filters, where sizes of them are given); a group
    of zeros stays zero.
    """
    if not names:
        return {}
    sums = [(statistic[n] / sizes[n] if n in sizes else statistic[n]).sum() for n in names]
    total = torch.stack(sums).sum()
    total = torch.where(total == 0, torch.ones_like(total), total)
    return {name: statistic[name] / total for name in names}
