"""The front that importance scores predict, before anything is trained.

Every budget of weights (a modality, a stage) has a curve: the share of all score mass that a
sparsity removes, and the MACs that it saves. Budgets are disjoint, so for a trade-off between the
two each is chosen alone (Lagrangian relaxation; Everett, Operations Research 1963), and a sweep
over trade-offs is the front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pruning.allocation import SparsityAllocation
from pruning.cost import CostProfile
from pruning.groups import ModalityGroups
from pruning.mask import PruningMask
from pruning.scores import ImportanceScores

Floats = NDArray[np.float64]
TRADE_OFFS = 4000


@dataclass(frozen=True, kw_only=True)
class BudgetCurve:
    """At rising sparsities [K] of one budget: loss [K], the share of all score mass removed, and
    saved [K], MACs a frame.
    """

    sparsities: Floats
    loss: Floats
    saved: Floats


def budget_curve(
    scores: ImportanceScores,
    groups: ModalityGroups,
    profile: CostProfile,
    allocation_at: Callable[[float], SparsityAllocation],
    sparsities: Sequence[float],
) -> BudgetCurve:
    """Curve of the budget that `allocation_at` prunes to a sparsity, and nothing else. MACs are
    exact; a score below 0 counts as 0.
    """
    mass = {name: score.clamp(min=0).double() for name, score in scores.by_weight.items()}
    total = max(sum(float(m.sum()) for m in mass.values()), 1e-300)
    loss, saved = [], []
    for sparsity in sparsities:
        mask = PruningMask.from_scores(scores, allocation_at(sparsity), groups)
        gone = sum(float(mass[name][~kept].sum()) for name, kept in mask.by_weight.items())
        cost = profile.cost(mask)
        loss.append(gone / total)
        saved.append(cost.macs_dense - cost.macs)
    return BudgetCurve(
        sparsities=np.array(sparsities, float), loss=np.array(loss), saved=np.array(saved)
    )


def predicted_front(curves: Mapping[str, BudgetCurve], count: int) -> list[dict[str, float]]:
    """`count` allocations (budget -> sparsity) of least predicted loss, evenly spaced in MACs, from
    every budget's lowest sparsity to the most pruned; fewer where several coincide.
    """
    names = list(curves)
    largest = sum(float(curve.saved.max()) for curve in curves.values())
    scale = 1 / max(largest, 1e-300)
    choices = [[0] * len(names)]  # the least pruned, whatever is free by the scores
    saved = [sum(float(curve.saved[0]) for curve in curves.values())]
    for trade_off in np.geomspace(1e-9, 1e6, TRADE_OFFS):
        chosen = [
            int((curves[n].loss - trade_off * scale * curves[n].saved).argmin()) for n in names
        ]
        choices.append(chosen)
        saved.append(sum(float(curves[n].saved[k]) for n, k in zip(names, chosen, strict=True)))
    wanted = np.linspace(min(saved), max(saved), count)
    nearest = [int(np.abs(np.array(saved) - target).argmin()) for target in wanted]
    found = [
        {n: float(curves[n].sparsities[k]) for n, k in zip(names, choices[at], strict=True)}
        for at in nearest
    ]
    return [values for i, values in enumerate(found) if values not in found[:i]]
