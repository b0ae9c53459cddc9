"""Names of the groups that sparsities are given to, and fields of the space that stand for many.

`allocation.per_stage.*` in a sweep's space is one field for every stage of the model (modality x
stage, the first two parts of a weight's name); `allocation.per_stage.camera.*` those of the camera,
`allocation.per_layer.lidar.backbone.*` every layer below. `sparsefront check` prints the fields.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import torch

from models import ModelSpec, build
from pruning.groups import ModalityGroups, stage_of
from pruning.weights import prunable_weights
from search import strict_yaml
from search.space import Choices, Range

LEVELS = ("per_modality", "per_stage", "per_layer")


def weights_of(model: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Modality -> names of its prunable weights."""
    with torch.random.fork_rng(devices=[]):
        built = build(model)
    return ModalityGroups.from_model(built).assign(prunable_weights(built))


def expanded(space: dict[str, Range | Choices], model: ModelSpec) -> dict[str, Range | Choices]:
    """The space with a field for each group that a `*` fits; a field given by name keeps its own
    range. ValueError for a `*` that fits nothing.
    """
    found: dict[str, Range | Choices] = {}
    for name, dimension in space.items():
        if "*" not in name:
            found[name] = dimension
            continue
        names = [n for n in _fields(model) if fnmatchcase(n, name)]
        if not names:
            raise ValueError(
                f"space.{name}: fits nothing{strict_yaml.closest(name, _fields(model))}; allowed: "
                f"a pattern of allocation.{{{','.join(LEVELS)}}}.NAME"
            )
        found.update({n: dimension for n in names if n not in space})
    return found


def _fields(model: ModelSpec) -> list[str]:
    weights = weights_of(model)
    layers = [name for names in weights.values() for name in names]
    names = (list(weights), list(dict.fromkeys(map(stage_of, layers))), layers)
    return [
        f"allocation.{level}.{name}"
        for level, members in zip(LEVELS, names, strict=True)
        for name in members
    ]
