"""Training that starts from a pruned model: its weights, and what stays zero."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from torch import nn

from sparsefront.errors import InputError
from sparsefront.models.checkpoint import store
from sparsefront.plugins import kind_of
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.pruned_weights import PrunedWeights
from sparsefront.scenes.loader import ImageSpec
from sparsefront.search.config.named_classes import Architecture


@dataclass(frozen=True, kw_only=True)
class PrunedCheckpoint:
    """Pruned weights with the spec of their model, or the task that builds it, and the size of the
    images it was trained on.
    """

    model: Architecture
    image: ImageSpec
    weights: PrunedWeights


def start_from_pruned(
    model: nn.Module,
    spec: Architecture,
    init: str | dict[str, str] | None,
    pruned: PrunedCheckpoint,
) -> PruningMask:
    """Loads the pruned weights into a model of `spec`; the mask to hold. InputError where the
    training file asks for another model or another start.
    """
    if init is not None:
        raise InputError("init: given together with --from; allowed: one of the two")
    same_task = kind_of(spec) == "task" and spec.name == pruned.model.name  # its options may differ
    if spec != pruned.model and not same_task:
        raise InputError(
            f"model: differs from the one of --from in {', '.join(differing(spec, pruned.model))}; "
            "allowed: the same model"
        )
    store.load_into(model, pruned.weights.state, "--from")
    return pruned.weights.to_hold()


def differing(one: Architecture, other: Architecture) -> list[str]:
    """Fields that two models' specs do not share."""
    left, right = asdict(cast(Any, one)), asdict(cast(Any, other))
    return [name for name in {**left, **right} if left.get(name) != right.get(name)]
