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
from itertools import islice

from torch import Tensor

from sparsefront.errors import InputError
from sparsefront.models.fusion_model import FusionModel
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.scores import ImportanceScores
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import Loader
from sparsefront.search.config.data import Scenes
from sparsefront.search.config.trial_spec import TrialSpec

Statistics = Mapping[str, Mapping[str, Tensor]]
"""Statistic name -> weight name -> tensor shaped like the weight."""

SCORE_BATCH_SIZE = 2
"""Frames a scoring batch: enough for batch statistics, small enough for a laptop's memory."""


def key_of(spec: TrialSpec) -> str:
    """What the statistics of this spec depend on, as a short hash."""
    return _hash({"criterion": spec.criterion.statistics_key(), **_inputs(spec)})


def batches_key(spec: TrialSpec) -> str:
    """What anything measured on the dense model and the scoring batches depends on, as a hash."""
    return _hash(_inputs(spec))


def moments_key(spec: TrialSpec) -> str:
    """What the second moments of the dense model's layers depend on, as a hash."""
    return _hash({**_inputs(spec), "score_batches": None, "repair_frames": spec.repair.frames})


def _inputs(spec: TrialSpec) -> dict[str, object]:
    return {
        "model": asdict(spec.model),
        "checkpoint": spec.checkpoint,
        "train": asdict(spec.train),
        "image": asdict(spec.image),
        "score_batches": spec.score_batches,
        "seed": spec.seed,
        "threads": spec.threads,
        "device": spec.device,
    }


def _hash(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def scoring_batches(spec: TrialSpec, scenes: Scenes, device: str) -> list[SensorBatch]:
    """The first `score_batches` batches of the training frames in seeded order, not augmented."""
    loader = Loader(
        scenes, spec.image, None, SCORE_BATCH_SIZE, shuffle=True, seed=spec.seed, drop_last=False
    )
    found = [batch.to(device) for batch in islice(loader, spec.score_batches)]
    if not found:
        raise InputError(f"train: none of {len(loader.frames)} frames could be read")
    return found


def compute(
    spec: TrialSpec,
    model: FusionModel,
    groups: ModalityGroups,
    scenes: Scenes,
    device: str,
) -> dict[str, dict[str, Tensor]]:
    """The criterion's statistics of a dense model, on the CPU. The model comes back unchanged."""
    batches = scoring_batches(spec, scenes, device)
    statistics = spec.criterion.statistics(model, groups, batches, task_loss)
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


def task_loss(model: FusionModel, batch: SensorBatch) -> Tensor:
    """The scalar that criteria differentiate: the model's own task loss."""
    return model.loss(batch)
