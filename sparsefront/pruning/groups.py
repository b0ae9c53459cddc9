"""Modality groups: which weights belong to the camera, to the LiDAR, to fusion and heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from sparsefront.errors import InputError
from sparsefront.pruning.weights import counted_weights


@dataclass(frozen=True)
class ModalityGroups:
    """Group name -> weight names or prefixes of them ("camera.backbone" holds all below it).

    Where several entries fit a name, the longest one decides.
    """

    entries: Mapping[str, tuple[str, ...]]

    @staticmethod
    def from_model(model: nn.Module) -> ModalityGroups:
        """Groups by the first part of each parameter's name (camera., lidar., fusion.); those that
        hold weights first.
        """
        names = [*(name for name, _ in counted_weights(model)), *dict(model.named_parameters())]
        first = dict.fromkeys(name.partition(".")[0] for name in names)
        return ModalityGroups({part: (part,) for part in first})

    def group_of(self, name: str) -> str:
        """The group of a parameter's name. InputError where none fits."""
        fitting = [
            (len(entry), group)
            for group, entries in self.entries.items()
            for entry in entries
            if name == entry or name.startswith(entry + ".")
        ]
        if not fitting:
            raise InputError(
                f"groups: weight {name!r} is in no group; allowed: "
                f"a name or prefix of it in one of {', '.join(self.entries)}"
            )
        return max(fitting)[1]

    def assign(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Group -> those of `names` that are in it, in their order; groups may be empty."""
        by_group: dict[str, list[str]] = {group: [] for group in self.entries}
        for name in names:
            by_group[self.group_of(name)].append(name)
        return {group: tuple(found) for group, found in by_group.items()}


def stage_of(name: str) -> str:
    """The stage of a weight: the first two parts of its name, such as camera.backbone."""
    return ".".join(name.split(".")[:2])
