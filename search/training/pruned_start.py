"""Training that starts from a pruned model: its weights, and what stays zero."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from models import FusionModel, ModelSpec
from models.checkpoint import store
from pruning.mask import PruningMask

if TYPE_CHECKING:
    from search.exports.pruned import Pruned


def go_on(
    model: FusionModel, spec: ModelSpec, init: str | dict[str, str] | None, pruned: Pruned
) -> PruningMask:
    """Loads the pruned weights into a model of `spec`; the mask to hold. ValueError where the
    training file asks for another model or another start.
    """
    if init is not None:
        raise ValueError("init: given together with --from; allowed: one of the two")
    if spec != pruned.model:
        raise ValueError(
            f"model: differs from the one of --from in {', '.join(differing(spec, pruned.model))}; "
            "allowed: the same model"
        )
    store.load_into(model, pruned.state, "--from")
    return pruned.held()


def differing(one: ModelSpec, other: ModelSpec) -> list[str]:
    """Fields that two models' specs do not share."""
    left, right = asdict(one), asdict(other)
    return [name for name in {**left, **right} if left.get(name) != right.get(name)]
