"""Sparsity allocation: the fraction of weights removed per modality, stage, layer or own group."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

from sparsefront.errors import InputError
from sparsefront.pruning.groups import stage_of
from sparsefront.pruning.nm_pattern import parse_pattern

SCHEMA_VERSION = 1
OTHERS = "all other weights"
Rule = Literal["global", "uniform", "erk", "lamp"]


@dataclass(frozen=True, kw_only=True)
class SparsityAllocation:
    """Fractions REMOVED, in [0, 1); a layer's beats its group's beats its stage's beats its
    modality's. The weights that one of these decides for compete with each other.

    Stages are the first two parts of a weight's name, layers are weight names.

    overall   what no entry covers shares this fraction under one threshold, across modalities, as
              both papers prune; 0: it stays dense
    groups    groups of one's own: name -> patterns of weight names, `*` for any characters; no
              weight in two of them
    per_group the sparsity of such a group
    rule      among weights that share a sparsity: "global" is one threshold over all of them,
              "uniform" the same fraction in every layer, "erk" Erdos-Renyi-Kernel densities, "lamp"
              one threshold over scores normalised per layer as LAMP does
    pattern   what is removed: single weights ("unstructured"), all but N in M along the inputs
              ("2:4"), where a sparsity is 0 or 1 - N/M, or whole channels ("channel"), where it is
              the fraction of the channels removed
    min_keep  weights that every layer keeps at least, so that none dies; 0 allows it
    """

    overall: float = 0.0
    per_modality: dict[str, float] = field(default_factory=dict)
    per_stage: dict[str, float] = field(default_factory=dict)
    per_layer: dict[str, float] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    per_group: dict[str, float] = field(default_factory=dict)
    rule: Rule = "global"
    pattern: str = "unstructured"
    min_keep: int = 1

    def __post_init__(self) -> None:
        for name, sparsity in self._entries():
            if not 0.0 <= sparsity < 1.0:
                raise InputError(
                    f"{name}: value {sparsity!r} is not a sparsity; allowed: 0 <= x < 1"
                )
        if self.rule not in get_args(Rule):
            raise InputError(f"rule: value {self.rule!r}; allowed: {', '.join(get_args(Rule))}")
        if self.pattern not in ("unstructured", "channel"):
            self._check_pattern(*parse_pattern(self.pattern))
        for name, patterns in self.groups.items():
            if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
                raise InputError(
                    f"groups: value {name!r} as a name; allowed: letters, digits, - _ ."
                )
            if not patterns:
                raise InputError(f"groups.{name}: value []; allowed: at least one pattern")
        for name in self.per_group:
            if name not in self.groups:
                known = ", ".join(self.groups) or "none, as groups names none"
                raise InputError(f"per_group.{name}: no group of that name; allowed: {known}")
        if self.min_keep < 0:
            raise InputError(f"min_keep: value {self.min_keep!r}; allowed: 0 and above")

    def sparsity_groups(self, weights: Mapping[str, tuple[str, ...]]) -> list[SparsityGroup]:
        """The weights (modality -> names) by the sparsity they share, each in exactly one group.

        InputError for a modality, stage or layer that is not there, an own group without a weight,
        or a weight in two of them.
        """
        self._check_names(weights)
        own = self._own_groups(weights)
        members: dict[tuple[str, float], list[str]] = {}
        for modality, names in weights.items():
            for name in names:
                members.setdefault(self._entry_of(modality, name, own), []).append(name)
        return [SparsityGroup(label, tuple(names), s) for (label, s), names in members.items()]

    def spared(self, weights: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
        """The weights (of modality -> names) of which an entry of their own says 0."""
        groups = self.sparsity_groups(weights)
        named = [g for g in groups if g.sparsity == 0 and g.label != OTHERS]
        return frozenset(name for group in named for name in group.names)

    def to_json(self) -> str:
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=2)

    @staticmethod
    def from_json(text: str) -> SparsityAllocation:
        """InputError for another schema version or unknown fields."""
        data = json.loads(text)
        version = data.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise InputError(f"schema_version: value {version!r}; allowed: {SCHEMA_VERSION}")
        known = set(SparsityAllocation.__dataclass_fields__)
        if unknown := set(data) - known:
            raise InputError(f"allocation: unknown {sorted(unknown)}; allowed: {sorted(known)}")
        return SparsityAllocation(**data)

    def _check_pattern(self, kept: int, block: int) -> None:
        whole = 1 - kept / block
        for name, sparsity in self._entries():
            if sparsity not in (0.0, whole):
                raise InputError(
                    f"{name}: value {sparsity!r}; allowed with pattern {self.pattern}: "
                    f"0.0 or {whole!r}"
                )

    def _entries(self) -> Iterator[tuple[str, float]]:
        """Every sparsity with the name of its field."""
        yield "overall", self.overall
        for level in ("per_modality", "per_stage", "per_layer", "per_group"):
            for name, sparsity in getattr(self, level).items():
                yield f"{level}.{name}", sparsity

    def _entry_of(self, modality: str, name: str, own: Mapping[str, str]) -> tuple[str, float]:
        """Label and sparsity of the entry that decides for a weight."""
        stage = stage_of(name)
        if name in self.per_layer:
            return name, self.per_layer[name]
        if own.get(name) in self.per_group:
            return f"group {own[name]}", self.per_group[own[name]]
        if stage in self.per_stage:
            return stage, self.per_stage[stage]
        if modality in self.per_modality:
            return modality, self.per_modality[modality]
        return OTHERS, self.overall

    def _own_groups(self, weights: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Weight -> its group, for those in one."""
        names = [name for found in weights.values() for name in found]
        own: dict[str, str] = {}
        for group, patterns in self.groups.items():
            for pattern in patterns:
                fitting = [name for name in names if fnmatchcase(name, pattern)]
                if not fitting:
                    raise InputError(
                        f"groups.{group}: value {pattern!r} fits no prunable weight; allowed: "
                        f"a name with * for any characters, such as {names[0].rsplit('.', 2)[0]}.*"
                    )
                for name in fitting:
                    if own.setdefault(name, group) != group:
                        raise InputError(
                            f"groups.{group}: value {pattern!r} fits {name}, which is in "
                            f"groups.{own[name]}; allowed: each weight in one group"
                        )
        return own

    def _check_names(self, weights: Mapping[str, tuple[str, ...]]) -> None:
        names = [name for found in weights.values() for name in found]
        levels = {
            "per_modality": list(weights),
            "per_stage": list(dict.fromkeys(map(stage_of, names))),
            "per_layer": names,
        }
        for level, allowed in levels.items():
            for name in getattr(self, level):
                if name not in allowed:
                    shown = ", ".join(allowed[:12]) + (", ..." if len(allowed) > 12 else "")
                    raise InputError(
                        f"{level}.{name}: the model has none of that name; allowed: {shown}"
                    )


@dataclass(frozen=True)
class SparsityGroup:
    """Weights that share one fraction removed and one threshold."""

    label: str
    names: tuple[str, ...]
    sparsity: float
