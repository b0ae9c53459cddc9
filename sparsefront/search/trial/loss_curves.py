"""Loss curves of a trial: what its criterion says each modality or stage loses when pruned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.cost import CostProfile
from sparsefront.pruning.criteria import Criterion, Fisher
from sparsefront.pruning.groups import stage_of
from sparsefront.pruning.predicted_front import (
    GroupCurve,
    group_curve,
    group_masks,
    predicted_front,
    saved_macs,
)
from sparsefront.pruning.repair.predicted_loss import repaired_losses
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.search.config.grouping import weights_of
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial import score_cache

STEPS = 40
REPAIRED_AT = (0.0, 0.3, 0.5, 0.65, 0.77, 0.86, 0.93, 1.0)
"""Shares of a range of sparsities at which cuts are repaired: closer where losses rise steeply."""
NO_SPARSITIES: dict[str, Any] = {
    "overall": 0.0, "per_modality": {}, "per_stage": {}, "per_layer": {}, "per_group": {},
}  # fmt: skip

Curves = dict[str, GroupCurve]
AllStatistics = Mapping[str, score_cache.Statistics]
"""By score_cache.key_of."""


@dataclass(frozen=True, kw_only=True)
class CurveRequest:
    """Curves of the groups (name -> weights) over their ranges of sparsities. The spec's criterion
    says which weights go, `predicted_by` what that costs.
    """

    spec: TrialSpec
    predicted_by: Criterion
    groups: Mapping[str, Sequence[str]]
    ranges: Mapping[str, tuple[float, float]]

    def key(self) -> str:
        """What the curves depend on, beside statistics and cost profile."""
        parts = [
            asdict(self.spec.criterion), asdict(self.predicted_by), asdict(self.spec.repair),
            self.spec.allocation.rule, self.spec.allocation.min_keep, self.ranges,
            {name: list(weights) for name, weights in self.groups.items()},
            score_cache.key_of(self.spec),
        ]  # fmt: skip
        return json.dumps(parts, sort_keys=True, default=str)

    def repaired(self) -> bool:
        """Whether the loss is that which the repair leaves: Fisher's alone is known for it."""
        return self.spec.repair.method != "none" and isinstance(self.predicted_by, Fisher)


@dataclass(frozen=True, kw_only=True)
class RepairInputs:
    """The dense model, and H and G of its layers (pruning/repair)."""

    model: nn.Module
    moments: Mapping[str, Tensor]
    weighted: Mapping[str, Tensor]


def curves_of(
    request: CurveRequest,
    statistics: AllStatistics,
    profile: CostProfile,
    repair: RepairInputs | None = None,
) -> Curves:
    """Group -> curve; with `repair`, of the loss that is left after it."""
    spec = request.spec
    modalities = spec.groups(spec.build())
    scores = score_cache.scores(spec, statistics[score_cache.key_of(spec)], modalities)
    if repair is not None:
        return _repaired_curves(request, scores, profile, repair)
    other = with_criterion(spec, request.predicted_by)
    predicted = score_cache.scores(other, statistics[score_cache.key_of(other)], modalities)
    return {
        name: group_curve(
            scores, predicted, weights, profile, _levels(request, name),
            spec.allocation.rule, spec.allocation.min_keep,
        )
        for name, weights in request.groups.items()
    }  # fmt: skip


def _repaired_curves(
    request: CurveRequest, scores: ImportanceScores, profile: CostProfile, repair: RepairInputs
) -> Curves:
    """Repaired at some sparsities, between them by monotone interpolation; a loss never
    falls with the sparsity.
    """
    rule, min_keep = request.spec.allocation.rule, request.spec.allocation.min_keep
    curves = {}
    for name, weights in request.groups.items():
        low, high = request.ranges[name]
        at, levels = [low + share * (high - low) for share in REPAIRED_AT], _levels(request, name)
        known = repaired_losses(
            repair.model, list(group_masks(scores, weights, at, rule, min_keep)), repair.moments,
            repair.weighted, request.spec.repair.damping,
        )  # fmt: skip
        roots = np.sqrt(np.maximum.accumulate(known))  # straighter than the loss itself
        curves[name] = GroupCurve(
            sparsities=np.array(levels),
            loss=PchipInterpolator(at, roots)(levels) ** 2,
            saved=np.array(
                [
                    saved_macs(profile, m)
                    for m in group_masks(scores, weights, levels, rule, min_keep)
                ]
            ),
        )
    return curves


def _levels(request: CurveRequest, group: str) -> list[float]:
    found: list[float] = np.linspace(*request.ranges[group], STEPS).tolist()
    return found


def with_criterion(spec: TrialSpec, criterion: Criterion) -> TrialSpec:
    """The trial with another criterion: whose statistics a prediction needs."""
    return replace(spec, criterion=criterion)


def trade_off_request(spec: TrialSpec) -> CurveRequest:
    """The curves of all groups that the spec's trade-off is over."""
    assert spec.trade_off is not None
    groups = trade_off_groups(spec)
    most = dict.fromkeys(groups, (0.0, spec.trade_off.most))
    return CurveRequest(
        spec=replace(spec, trade_off=None, allocation=replace(spec.allocation, **NO_SPARSITIES)),
        predicted_by=spec.trade_off.predicted_by, groups=groups, ranges=most,
    )  # fmt: skip


def trade_off_groups(spec: TrialSpec) -> dict[str, list[str]]:
    """Modality or stage -> its weights. InputError for a tilt of something else."""
    assert spec.trade_off is not None
    weights = weights_of(spec)
    found: dict[str, list[str]] = {}
    for modality, names in weights.items():
        for name in names:
            group = modality if spec.trade_off.groups == "modality" else stage_of(name)
            found.setdefault(group, []).append(name)
    allowed = list(dict.fromkeys([*weights, *found]))
    for name in spec.trade_off.tilt:
        if name not in allowed:
            raise InputError(
                f"trade_off.tilt.{name}: the model has none of that name; allowed: "
                f"{', '.join(allowed)}"
            )
    return found


def resolved(spec: TrialSpec, curves: Curves) -> SparsityAllocation:
    """The allocation at the spec's trade-off: on the front that its tilted curves predict."""
    trade_off = spec.trade_off
    assert trade_off is not None
    tilt = {name: trade_off.tilt_of(name) for name in curves}
    found = predicted_front(curves, tilt).at(trade_off.saved)
    by_modality = trade_off.groups == "modality"
    given = {"per_modality" if by_modality else "per_stage": found}
    return replace(spec.allocation, **{**NO_SPARSITIES, **given})
