"""A sweep file: one complete YAML, no includes, read strictly into a Sweep."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from pruning.latency import LatencySpec
from search import strict_yaml
from search.objectives import Bound
from search.space import Choices, Range, check_space, with_values
from search.tasks import LATENCY, NEEDS
from search.trial_spec import TrialSpec

ObjectiveName = Literal[
    "mAP", "NDS", "AMOTA", "AMOTP", "mIoU", "AP3D", "APBEV", "AP2D", "AOS", "GFLOPs", "nonzeros",
    "parameters", "bytes", "latency_ms",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A whole search. `space` maps dotted fields of `trial` to what they may be.

    first           tried before any proposal: "uniform" allocations from dense to sparse, or those
                    along the front that the criterion's scores predict ("predicted")
    workers         concurrent trials; 1 with one thread gives the same front every time
    tracking_uri    MLflow tracking URI; None: SQLite in the sweep's folder
    trial_timeout_s, max_memory_gb   limits of one trial; beyond them it is recorded as failed
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    trial: TrialSpec
    space: dict[str, Range | Choices]
    objectives: list[ObjectiveName] = field(default_factory=lambda: ["mAP", "NDS", "GFLOPs"])
    constraints: dict[str, Bound] = field(default_factory=dict)
    sampler: Literal["gp", "tpe", "nsga2", "random"] = "gp"
    first: Literal["uniform", "predicted"] = "uniform"
    trials: int = 24
    seed: int = 0
    workers: int = 1
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    tracking_uri: str | None = None
    trial_timeout_s: float | None = None
    max_memory_gb: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        for name in ("trials", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: value {getattr(self, name)!r}; allowed: 1 and above")
        for name in ("trial_timeout_s", "max_memory_gb"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name}: value {getattr(self, name)!r}; allowed: above 0")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError(
                f"objectives: value {self.objectives!r}; allowed: at least one, each once"
            )
        if not self.space:
            raise ValueError("space: value {}; allowed: at least one dotted field of trial")
        if self.trial.latency is None and {*self.objectives, *self.constraints} & {*LATENCY}:
            object.__setattr__(self, "trial", replace(self.trial, latency=LatencySpec()))
        check_space(self.trial, self.space)
        check_first(self)
        check_measured(self)


def read_sweep(path: str | Path) -> Sweep:
    """The Sweep of a file. ValueError with file, field, value and what is allowed, in one line."""
    return strict_yaml.read(path, Sweep)


def read_checked(path: str | Path) -> Sweep:
    """read_sweep, and everything that its trials need opened once. ValueError as there."""
    sweep = read_sweep(path)
    try:
        check_inputs(sweep)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return sweep


def check_name(name: str) -> None:
    """ValueError unless the name is usable as a folder name."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise ValueError(f"name: value {name!r}; allowed: letters, digits, - _ . (no leading dot)")


def set_fields(spec: TrialSpec, settings: list[str]) -> TrialSpec:
    """`field=value` settings of the command line applied; values are read as YAML."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set: value {setting!r}; allowed: field=value")
        values[name] = strict_yaml.parse_value(text)
    return with_values(spec, values)


def first_trial(sweep: Sweep) -> TrialSpec:
    """The trial with every field of the space at its low end or first choice."""
    return with_values(sweep.trial, {name: d.corners()[0] for name, d in sweep.space.items()})


def check_first(sweep: Sweep) -> None:
    """ValueError where nothing can be predicted: no sparsity searched, or not of single weights."""
    if sweep.first == "uniform":
        return
    if not any(name.startswith("allocation.per_") for name in sweep.space):
        raise ValueError(
            "first: value 'predicted' with no allocation.per_... in space; allowed: uniform"
        )
    pattern = sweep.trial.allocation.pattern
    if pattern != "unstructured":
        raise ValueError(
            f"first: value 'predicted' with allocation.pattern {pattern!r}; allowed: uniform"
        )


def check_measured(sweep: Sweep) -> None:
    """ValueError unless every trial of the sweep measures all objectives and bounded metrics."""
    choices = [
        {name: choice}
        for name, dimension in sweep.space.items()
        if isinstance(dimension, Choices)
        for choice in dimension.choices
    ]
    for values in [{}, *choices]:
        names = (with_values(sweep.trial, values) if values else sweep.trial).measured()
        for asking, wanted in (
            ("objectives", sweep.objectives),
            ("constraints", list(sweep.constraints)),
        ):
            for name in wanted:
                if name not in names:
                    known = f"needs {NEEDS[name]}" if name in NEEDS else "is unknown"
                    near = strict_yaml.closest(name, list(names))
                    with_choice = "".join(f" with {k} {v!r}" for k, v in values.items())
                    raise ValueError(
                        f"{asking}: {name!r} {known}{near}; this trial{with_choice} measures: "
                        f"{', '.join(names)}"
                    )


def other_models(sweep: Sweep) -> list[TrialSpec]:
    """The first trial with each other model and checkpoint of the space."""
    first = first_trial(sweep)
    return [
        with_values(first, {name: choice})
        for name, dimension in sweep.space.items()
        if isinstance(dimension, Choices) and name.partition(".")[0] in ("model", "checkpoint")
        for choice in dimension.choices[1:]
    ]


def check_inputs(sweep: Sweep) -> None:
    """Opens everything a trial needs, before anything is written. ValueError in one line.

    The data roots with their versions and splits, the checkpoint against the model, the names in
    the allocation against the model's weights.
    """
    from search.trial import check_trial

    for spec in [sweep.trial, first_trial(sweep), *other_models(sweep)]:
        check_trial(spec)
    if sweep.cpus_per_trial > (os.cpu_count() or 1) * 1024:
        raise ValueError(f"field cpus_per_trial: value {sweep.cpus_per_trial!r} is not a CPU count")
