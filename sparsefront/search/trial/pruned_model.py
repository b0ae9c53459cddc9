"""From a trial's spec to a pruned model: scores, mask at the allocation, channels to take out."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace

from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.channels.select import channel_mask
from sparsefront.pruning.cost import ModelCost, combine_costs
from sparsefront.pruning.crossprune import CrossPrune, admm, last_support
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.least_cost import least_cost
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.least_squares import refit_least_squares
from sparsefront.pruning.repair.refine import refine
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.trial import score_cache
from sparsefront.search.trial.shared import (
    Shared,
    cost_key,
    cost_profile,
    dense_model,
    with_allocation,
)

ADAPTED = "repair: left out, as CrossPrune's rounds adapt the kept weights themselves"
"""Refitted they answer as the last round's whole weights do, which is worse (docs/pruning.md)."""


@dataclass(frozen=True)
class Pruned:
    """mask   to hold while fine-tuning
    admm   residuals and terms of CrossPrune's rounds, if it ran
    notes  what the repair left as it was
    """

    mask: PruningMask
    admm: list[dict[str, float]]
    notes: tuple[str, ...]


def prune_model(
    spec: TrialSpec, shared: Shared, model: nn.Module, groups: ModalityGroups, device: str
) -> Pruned:
    """Zeroes the model's least important weights or channels and repairs what stays, in place."""
    mask, log = find_mask(spec, shared, model, groups, device)
    if spec.repair.method == "none" or spec.cross_prune is not None:
        mask.apply(model)
        return Pruned(mask, log, (ADAPTED,) if spec.repair.method != "none" else ())
    before = copy.deepcopy(model) if spec.repair.refine else None
    moments = shared.moments[score_cache.moments_key(spec)]
    report = refit_least_squares(model, mask, moments, spec.repair.damping)
    if before is not None:
        task = task_of(spec)
        batches = task.calibration_batches(spec.seed, spec.repair.frames, device)
        refine(
            model.eval(), before.eval(), mask, batches, task.forward, damping=spec.repair.damping,
            batch_size=task.frames_a_batch(batches),
        )  # fmt: skip
    return Pruned(mask, log, (*_few_frames(spec), *report.notes))


def find_mask(
    spec: TrialSpec, shared: Shared, model: nn.Module, groups: ModalityGroups, device: str
) -> tuple[PruningMask, list[dict[str, float]]]:
    """What the spec's allocation keeps, and the residuals and terms of CrossPrune's rounds, which
    leave their weights in the model.
    """
    statistics = shared.statistics[score_cache.key_of(spec)]
    scores = score_cache.scores(spec, statistics, groups)
    if spec.cross_prune is not None:
        task = task_of(spec)
        batches = task.scoring_batches(spec.seed, spec.score_batches, device)
        options = with_lambdas(spec.cross_prune, task.features(model, batches[0]))
        rounds = admm(
            model, groups, spec.allocation, batches, task.loss, task.features, options,
            scores=scores,
        )  # fmt: skip
        return last_support(rounds)
    if spec.allocation.pattern == "channel":
        graph = shared.graphs[cost_key(spec)]
        return channel_mask(scores, spec.allocation, groups, graph, model), []
    return PruningMask.from_scores(scores, spec.allocation, groups, model), []


def with_lambdas(options: CrossPrune, features: Collection[str]) -> CrossPrune:
    """The default lambdas as 1 for each map of a task that names its maps otherwise. InputError for
    one that is given and has no map.
    """
    if options.lambdas == CrossPrune().lambdas and not set(options.lambdas) <= set(features):
        return replace(options, lambdas=dict.fromkeys(features, 1.0))
    for name, weight in options.lambdas.items():
        if weight > 0 and name not in features:
            raise InputError(
                f"cross_prune.lambdas.{name}: no such feature map; allowed: {', '.join(features)}"
            )
    return options


def least_costs(spec: TrialSpec, shared: Shared) -> dict[str, float]:
    """The least that the trial can cost, whichever mask of its allocation CrossPrune's rounds find.
    Non-zeros are exact.
    """
    spec = with_allocation(spec, shared)
    model = dense_model(spec, shared)
    profile = shared.profiles[cost_key(spec)]
    cost = least_cost(profile, spec.allocation, spec.groups(model), model)
    return {
        "GFLOPs": 2 * cost.macs / 1e9, "GMACs": cost.macs / 1e9, "nonzeros": float(cost.nonzeros),
    }  # fmt: skip


def deployed_cost(
    spec: TrialSpec, shared: Shared, mask: PruningMask, smaller: nn.Module, device: str
) -> ModelCost:
    """Cost beside the dense model's: of the weights that the mask keeps, or of all of the smaller
    model, where channels went. A kept weight counts whatever its value, as training moves it.
    """
    dense = shared.profiles[cost_key(spec)].cost(mask)
    if not mask.channels:
        return dense
    return combine_costs(dense, cost_profile(spec, smaller, device).cost(PruningMask({})))


def _few_frames(spec: TrialSpec) -> tuple[str, ...]:
    """A note where the training data have fewer frames than the repair asks for."""
    if spec.task is not None:
        return ()
    there = len(spec.train_scenes().tokens)
    if there >= spec.repair.frames:
        return ()
    return (f"repair.frames: value {spec.repair.frames}; train has {there}",)
