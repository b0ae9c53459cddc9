"""Criterion statistics, computed once per checkpoint and data, then shared by every trial.

A criterion's statistics are the slow part (gradients, AlterMOMA's reactivations); combining them
into scores for one choice of its weights (alpha, beta) is free. The key says what the statistics
depend on, so that a search over anything else finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor, nn

from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.tasks.choose import task_of

Statistics = Mapping[str, Mapping[str, Tensor]]
"""Statistic name -> weight name -> tensor shaped like the weight."""


def key_of(spec: TrialSpec) -> str:
    """What the statistics of this spec depend on, as a short hash."""
    return _hash({"criterion": spec.criterion.statistics_key(), **_inputs(spec)})


def batches_key(spec: TrialSpec) -> str:
    """What anything measured on the dense model and the scoring batches depends on, as a hash."""
    return _hash(_inputs(spec))


def moments_key(spec: TrialSpec) -> str:
    """What the second moments of the dense model's layers depend on, as a hash."""
    return _hash({**_inputs(spec), "score_batches": None, "repair_frames": spec.repair.frames})


def subject(spec: TrialSpec) -> dict[str, object]:
    """What is pruned and on which training data."""
    if spec.task is not None:
        return {"task": asdict(spec.task), "checkpoint": spec.checkpoint}  # type: ignore[call-overload]
    model, train, _ = spec.parts
    return {
        "model": asdict(model),
        "checkpoint": spec.checkpoint,
        "train": asdict(train),
        "image": asdict(spec.image),
    }


def _inputs(spec: TrialSpec) -> dict[str, object]:
    return {
        **subject(spec),
        "score_batches": spec.score_batches,
        "seed": spec.seed,
        "threads": spec.threads,
        "device": spec.device,
    }


def _hash(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def compute(
    spec: TrialSpec,
    model: nn.Module,
    groups: ModalityGroups,
    device: str,
) -> dict[str, dict[str, Tensor]]:
    """The criterion's statistics of a dense model, on the CPU. The model comes back unchanged."""
    task = task_of(spec)
    batches = task.scoring_batches(spec.seed, spec.score_batches, device)
    more = {"forward": task.forward} if spec.criterion.uses_forward else {}
    statistics = spec.criterion.statistics(model, groups, batches, task.loss, **more)
    found = scores(spec, statistics, groups)
    spared = spec.allocation.spared(groups.assign(found.by_weight))
    spec.criterion.check_scored(found, groups, model, spared)
    return {
        name: {weight: tensor.detach().cpu() for weight, tensor in by_weight.items()}
        for name, by_weight in statistics.items()
    }


def scores(spec: TrialSpec, statistics: Statistics, groups: ModalityGroups) -> ImportanceScores:
    """Importance of every weight for this spec's criterion."""
    plain = {name: dict(by_weight) for name, by_weight in statistics.items()}
    return spec.criterion.combine(plain, groups)
