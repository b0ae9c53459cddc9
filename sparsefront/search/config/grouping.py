"""Names of the groups that sparsities are given to, and fields of the space that stand for many.

`allocation.per_stage.*` in a sweep's space is one field for every stage of the model (modality x
stage, the first two parts of a weight's name); `allocation.per_stage.camera.*` those of the camera,
`allocation.per_layer.lidar.backbone.*` every layer below, `allocation.per_group.*` the groups that
the trial's allocation names itself. `sparsefront check` prints the fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import torch

from sparsefront.errors import InputError
from sparsefront.pruning.groups import stage_of
from sparsefront.pruning.weights import prunable_weights
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.space import Choices, Range, with_values
from sparsefront.search.config.trial_spec import TrialSpec

LEVELS = ("per_modality", "per_stage", "per_layer", "per_group")
SPARSITIES = "allocation.per_"


def weights_of(trial: TrialSpec) -> dict[str, tuple[str, ...]]:
    """Modality -> names of its prunable weights."""
    with torch.random.fork_rng(devices=[]):
        built = trial.build()
    return trial.groups(built).assign(prunable_weights(built))


def groups_of(trial: TrialSpec, fields: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Field such as allocation.per_stage.camera.neck -> the weights whose sparsity it is; fields
    that say nothing, as others say it of all their weights, are left out.
    """
    labels = {name: _label(name) for name in fields if name.startswith(SPARSITIES)}
    if not labels:
        return {}
    allocation = with_values(trial, dict.fromkeys(labels, 0.0)).allocation
    try:
        groups = allocation.sparsity_groups(weights_of(trial))
    except InputError as error:
        raise InputError(f"field trial.allocation.{error}") from error
    members = {group.label: group.names for group in groups}
    return {name: members[label] for name, label in labels.items() if label in members}


def check_searched(trial: TrialSpec, space: Mapping[str, object]) -> None:
    """InputError for a field of the space that is the sparsity of no weight."""
    found = groups_of(trial, space)
    for name in space:
        if name.startswith(SPARSITIES) and name not in found:
            raise InputError(
                f"space.{name}: says nothing, as other entries of the space or of trial.allocation "
                "are nearer to all its weights; allowed: one that some weight has"
            )


def expanded(space: dict[str, Range | Choices], trial: TrialSpec) -> dict[str, Range | Choices]:
    """The space with a field for each group that a `*` fits and that has weights which no nearer
    field is about; a field given by name keeps its own range. InputError for a `*` that fits
    nothing.
    """
    allowed = _fields(trial)
    found: dict[str, Range | Choices] = {}
    for name, dimension in space.items():
        if "*" not in name:
            found[name] = dimension
            continue
        names = [n for n in allowed if fnmatchcase(n, name)]
        if not names:
            raise InputError(
                f"space.{name}: fits nothing{strict_yaml.closest(name, allowed)}; allowed: "
                f"a pattern of allocation.{{{','.join(LEVELS)}}}.NAME"
            )
        found.update({n: dimension for n in names if n not in space})
    told = groups_of(trial, found)
    return {n: d for n, d in found.items() if n in space or n in told}


def _label(name: str) -> str:
    """Of the group that a field says the sparsity of."""
    level, _, member = name.removeprefix("allocation.").partition(".")
    return f"group {member}" if level == "per_group" else member


def _fields(trial: TrialSpec) -> list[str]:
    weights = weights_of(trial)
    layers = [name for names in weights.values() for name in names]
    stages = list(dict.fromkeys(map(stage_of, layers)))
    names = (list(weights), stages, layers, list(trial.allocation.groups))
    return [
        f"allocation.{level}.{name}"
        for level, members in zip(LEVELS, names, strict=True)
        for name in members
    ]
