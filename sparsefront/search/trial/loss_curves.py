"""Loss curves of a trial: what its criterion says each modality or stage loses when pruned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.cost import CostProfile
from sparsefront.pruning.criteria import Criterion
from sparsefront.pruning.groups import ModalityGroups, stage_of
from sparsefront.pruning.predicted_front import GroupCurve, group_curve, predicted_front
from sparsefront.search.config.grouping import weights_of
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial import score_cache

STEPS = 40

Curves = dict[str, GroupCurve]
AllStatistics = Mapping[str, score_cache.Statistics]
"""By score_cache.key_of."""


def curves_of(
    spec: TrialSpec,
    predicted_by: Criterion,
    statistics: AllStatistics,
    profile: CostProfile,
    groups: Mapping[str, Sequence[str]],
    ranges: Mapping[str, tuple[float, float]],
) -> Curves:
    """Group -> curve over its range of sparsities; `groups` maps names to weight names. The
    spec's criterion says which weights go, `predicted_by` what that costs.
    """
    modalities = ModalityGroups.from_model(build(spec.model))
    scores = score_cache.scores(spec, statistics[score_cache.key_of(spec)], modalities)
    other = with_criterion(spec, predicted_by)
    predicted = score_cache.scores(other, statistics[score_cache.key_of(other)], modalities)
    return {
        name: group_curve(
            scores, predicted, weights, profile, np.linspace(*ranges[name], STEPS).tolist(),
            spec.allocation.rule, spec.allocation.min_keep,
        )
        for name, weights in groups.items()
    }  # fmt: skip


def with_criterion(spec: TrialSpec, criterion: Criterion) -> TrialSpec:
    """The trial with another criterion: whose statistics a prediction needs."""
    return replace(spec, criterion=criterion)


def trade_off_key(spec: TrialSpec) -> str:
    """What the curves behind a trade-off depend on, beside statistics and cost profile."""
    assert spec.trade_off is not None
    parts = [
        asdict(spec.criterion), asdict(spec.trade_off.predicted_by), spec.trade_off.groups,
        spec.trade_off.most, spec.allocation.rule, spec.allocation.min_keep,
        score_cache.key_of(spec),
    ]  # fmt: skip
    return json.dumps(parts, sort_keys=True)


def trade_off_curves(spec: TrialSpec, statistics: AllStatistics, profile: CostProfile) -> Curves:
    """The curves of all groups that the trade-off is over."""
    assert spec.trade_off is not None
    groups = trade_off_groups(spec)
    most = dict.fromkeys(groups, (0.0, spec.trade_off.most))
    return curves_of(spec, spec.trade_off.predicted_by, statistics, profile, groups, most)


def trade_off_groups(spec: TrialSpec) -> dict[str, list[str]]:
    """Modality or stage -> its weights. InputError for a tilt of something else."""
    assert spec.trade_off is not None
    weights = weights_of(spec.model)
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
    return replace(
        spec.allocation, overall=0.0, per_modality=found if by_modality else {},
        per_stage={} if by_modality else found, per_layer={}, per_group={},
    )  # fmt: skip
