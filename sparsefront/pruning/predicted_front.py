"""The front that importance scores predict, before anything is trained.

Every group of weights (a modality, a stage) has a curve: the loss that scores predict for a
sparsity, summed over the weights that go, and the MACs that it saves. Groups are disjoint, so for
a trade-off between the two each is chosen alone (Lagrangian relaxation; Everett, Operations
Research 1963), and a sweep over trade-offs is the front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsefront.pruning.allocation import Rule, SparsityAllocation
from sparsefront.pruning.cost import CostProfile
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.scores import ImportanceScores

Floats = NDArray[np.float64]
TRADE_OFFS = 1000
"""Prices of a MAC that are tried: many more than a curve has points, so none is missed."""


@dataclass(frozen=True, kw_only=True)
class GroupCurve:
    """At rising sparsities [K] of one group: loss [K], the share of all predicted loss that goes,
    and saved [K], MACs a frame.
    """

    sparsities: Floats
    loss: Floats
    saved: Floats


@dataclass(frozen=True, kw_only=True)
class PredictedFront:
    """Allocations of least predicted loss, from every group's lowest sparsity to the most pruned.

    names       groups [n]
    sparsities  [T, n]
    loss        [T, n], each group's own, not tilted
    saved       [T], MACs a frame, rising
    """

    names: tuple[str, ...]
    sparsities: Floats
    loss: Floats
    saved: Floats

    def allocation(self, index: int) -> dict[str, float]:
        """Group -> sparsity."""
        return dict(zip(self.names, self.sparsities[index].tolist(), strict=True))

    def evenly(self, count: int) -> list[dict[str, float]]:
        """`count` allocations evenly spaced in MACs; fewer where several coincide."""
        wanted = np.linspace(self.saved[0], self.saved[-1], count)
        nearest = [int(np.abs(self.saved - target).argmin()) for target in wanted]
        return [self.allocation(i) for i in dict.fromkeys(nearest)]

    def saving(self, macs: float) -> PredictedFront:
        """The part that saves so many MACs or more; where none does, the most pruned allocation."""
        keep = self.saved >= min(macs, self.saved[-1])
        return PredictedFront(
            names=self.names, sparsities=self.sparsities[keep], loss=self.loss[keep],
            saved=self.saved[keep],
        )  # fmt: skip

    def at(self, share: float) -> dict[str, float]:
        """The allocation that saves a share (0..1) of what can be saved, between neighbours on the
        front by linear interpolation.
        """
        target = self.saved[0] + share * (self.saved[-1] - self.saved[0])
        found = [float(np.interp(target, self.saved, column)) for column in self.sparsities.T]
        return dict(zip(self.names, found, strict=True))


def group_curve(
    scores: ImportanceScores,
    predicted: ImportanceScores,
    names: Sequence[str],
    profile: CostProfile,
    sparsities: Sequence[float],
    rule: Rule = "global",
    min_keep: int = 1,
) -> GroupCurve:
    """Curve of the group of weights `names`, spread over them by `rule` (allocation.py).

    `scores` say which weights go, `predicted` what each costs in loss (below 0 counts as 0); the
    two may be the same. MACs are exact.
    """
    every = predicted.by_weight
    total = sum(float(score.clamp(min=0).sum(dtype=torch.double)) for score in every.values())
    mass = {name: every[name].clamp(min=0).double() for name in names}
    loss, saved = [], []
    for kept in group_masks(scores, names, sparsities, rule, min_keep):
        gone = sum(float(mass[name][~stays].sum()) for name, stays in kept.items())
        loss.append(gone / max(total, 1e-300))
        saved.append(saved_macs(profile, kept))
    return GroupCurve(
        sparsities=np.array(sparsities, float), loss=np.array(loss), saved=np.array(saved)
    )


def group_masks(
    scores: ImportanceScores,
    names: Sequence[str],
    sparsities: Sequence[float],
    rule: Rule = "global",
    min_keep: int = 1,
) -> Iterator[dict[str, Tensor]]:
    """What of a group's weights stays at each sparsity: name -> bool."""
    part = ImportanceScores({name: scores.by_weight[name] for name in names})
    one_group = ModalityGroups({"all": tuple(names)})
    for sparsity in sparsities:
        shared = SparsityAllocation(overall=sparsity, rule=rule, min_keep=min_keep)
        yield dict(PruningMask.from_scores(part, shared, one_group).by_weight)


def saved_macs(profile: CostProfile, kept: Mapping[str, Tensor]) -> float:
    """MACs a frame that a cut saves."""
    uses = {name: profile.layers[name] for name in kept if name in profile.layers}
    return sum(use.macs(None) - use.macs(kept[name]) for name, use in uses.items())


def predicted_front(
    curves: Mapping[str, GroupCurve], tilt: Mapping[str, float] | None = None
) -> PredictedFront:
    """The front of these curves; `tilt` multiplies a group's predicted loss by e^tilt."""
    names = tuple(curves)
    factors = [float(np.exp((tilt or {}).get(name, 0.0))) for name in names]
    loss = sum(float(curve.loss.max()) for curve in curves.values())
    most = sum(float(curve.saved.max()) for curve in curves.values())
    unit = 1.0 if 1e-3 <= loss <= 10.0 else max(loss, 1e-300)  # shares of a loss, or any unit
    trade_offs = unit / max(most, 1e-300) * np.geomspace(1e-7, 1e5, TRADE_OFFS)[:, None]
    chosen = [
        (factor * curve.loss - trade_offs * curve.saved).argmin(1)
        for factor, curve in zip(factors, curves.values(), strict=True)
    ]
    picks = np.unique(np.stack(chosen, 1), axis=0)  # [T, n]
    picks = np.unique(np.vstack([np.zeros_like(picks[:1]), picks]), axis=0)  # the least pruned too

    def column(field: str) -> Floats:
        values = [getattr(curves[n], field)[picks[:, i]] for i, n in enumerate(names)]
        return np.stack(values, 1)

    saved = column("saved").sum(1)
    order = np.argsort(saved, kind="stable")
    return PredictedFront(
        names=names, sparsities=column("sparsities")[order], loss=column("loss")[order],
        saved=saved[order],
    )  # fmt: skip
