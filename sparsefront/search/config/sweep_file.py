"""A sweep file: one complete YAML, no includes, read strictly into a Sweep."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from sparsefront.errors import InputError, one_line
from sparsefront.plugins import Plugin, code_paths, plugin_class, see_folder
from sparsefront.pruning.criteria import Fisher
from sparsefront.pruning.latency import LatencySpec
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.grouping import SPARSITIES, expanded
from sparsefront.search.config.halving import Halving
from sparsefront.search.config.metric_names import BEFORE_TRAINING, LATENCY, NEEDS
from sparsefront.search.config.named_classes import AnyCriterion
from sparsefront.search.config.objectives import (
    DEFAULT_OBJECTIVES,
    Bound,
    Objective,
    known_objectives,
)
from sparsefront.search.config.older_files import upgraded_sweep
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.config.space import Choices, Range, check_space, with_values
from sparsefront.search.config.task import Metric
from sparsefront.search.config.trial_spec import TrialSpec

TRADE_OFF = "trade_off.saved"
"""The field that says how far along a predicted front a trial is."""
TILT = "trade_off.tilt."
"""What fields begin with that say which modality or stage it spares."""


class DefaultObjectives(list[str]):
    """Those of a file that gives none."""


AS_WRITTEN = ("storage", "tracking_uri")
"""Fields that may hold passwords, by $VARIABLES."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A whole search. `space` maps dotted fields of `trial` to what they may be.

    space           a `*` in allocation.per_modality, per_stage, per_layer or per_group names stands
                    for every one that fits
    objectives      of a trial with a task of its own: by default all of its metrics, and GFLOPs
    metrics         what those of such a task mean: taken from it, so that the front is drawn
                    without its code
    sampler         "auto": a Gaussian process up to 150 trials, then NSGA-II; "predicted": along
                    the front that the criterion's scores and exact MACs predict, recalibrated on
                    what was measured, over searched sparsities or a trade_off, other fields by
                    "auto"
    predicted_by    the criterion whose scores are the predicted loss; the trial's own criterion
                    says which weights go. Of a trade_off that is searched: its own field
    first           tried before any proposal: "uniform" allocations from dense to sparse, "erk" at
                    some totals, "papers": 80, 85 and 90 % under one threshold over all modalities,
                    "predicted": along the predicted front, evenly in MACs; None: nothing where the
                    sampler is predicted, predicted where a trade_off is searched, else uniform
    halving         trials are measured early and cheaply, and only the best go on
    warm_start      folders of earlier sweeps over the same trial: their results are taken over, and
                    do not count as trials of this one
    code            folders of code that a cluster's workers need for classes of one's own; on one
                    machine they see the folder of the launch and PYTHONPATH
    storage         Optuna's, as a database URI for a cluster; None: a file in the sweep's folder;
                    its $VARIABLES, as those of tracking_uri, are looked up when it is opened and
                    never written, so that a password stays where it is
    workers         concurrent trials; 1 with one thread gives the same front every time
    tracking_uri    MLflow tracking URI; None: SQLite in the sweep's folder
    rung_timeout_s, max_memory_gb   limits of a trial's way to its next rung (without halving, to
                    its end); beyond them it is recorded as failed
    max_restarts    how often a trial goes on from its last rung after its worker or node died
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    trial: TrialSpec
    space: dict[str, Range | Choices]
    objectives: list[str] = field(default_factory=lambda: DefaultObjectives(DEFAULT_OBJECTIVES))
    metrics: dict[str, Metric] = field(default_factory=dict)
    constraints: dict[str, Bound] = field(default_factory=dict)
    sampler: Literal["auto", "predicted", "gp", "tpe", "nsga2", "random"] = "auto"
    first: list[Literal["uniform", "erk", "papers", "predicted"]] | None = None
    predicted_by: AnyCriterion = field(default_factory=Fisher)
    halving: Halving | None = None
    warm_start: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    storage: str | None = None
    trials: int = 24
    seed: int = 0
    workers: int = 1
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    tracking_uri: str | None = None
    rung_timeout_s: float | None = None
    max_memory_gb: float | None = None
    max_restarts: int = 2

    def __post_init__(self) -> None:
        check_name(self.name)
        lowest = {"trials": 1, "workers": 1, "max_restarts": 0, "seed": 0, "gpus_per_trial": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise InputError(f"{name}: value {getattr(self, name)!r}; allowed: {low} and above")
        for name in ("cpus_per_trial", "rung_timeout_s", "max_memory_gb"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise InputError(f"{name}: value {getattr(self, name)!r}; allowed: above 0")
        if self.storage is not None and "://" not in strict_yaml.expand(self.storage):
            raise InputError(
                f"storage: value {mask_passwords(self.storage)!r}; allowed: a database URI such as "
                "postgresql://USER:$PASSWORD@HOST/DATABASE"
            )
        self._take_own_metrics()
        if self.trial.task is not None:
            object.__setattr__(self, "metrics", {**self.metrics, **self.trial.task.metrics})
            if isinstance(self.objectives, DefaultObjectives):
                object.__setattr__(self, "objectives", [*self.trial.task.metrics, "GFLOPs"])
        own_names = {type(o).__name__ for o in self.trial.own_metrics}
        own_names |= set(self.trial.task.metrics) if self.trial.task is not None else set()
        if wrong := [name for name in self.metrics if name not in own_names]:
            raise InputError(
                f"metrics: value {wrong[0]!r} is of no task and no class of one's own; allowed: "
                f"none, as they say it themselves"
            )
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise InputError(
                f"objectives: value {self.objectives!r}; allowed: at least one, each once"
            )
        if not self.space:
            raise InputError("space: value {}; allowed: at least one dotted field of trial")
        if self.trial.latency is None and {*self.objectives, *self.constraints} & {*LATENCY}:
            object.__setattr__(self, "trial", replace(self.trial, latency=LatencySpec()))
        check_space(self.trial, {n: d for n, d in self.space.items() if "*" not in n})
        if TRADE_OFF in self.space and self.predicted_by != Fisher():
            raise InputError(
                "predicted_by: given where a trade_off is searched; allowed there: "
                "trial.trade_off.predicted_by"
            )
        check_objectives(self)
        check_predicted(self)
        check_halving(self)
        check_measured(self)

    def _take_own_metrics(self) -> None:
        """Import paths among the objectives become metrics of the trial, by their class's name."""
        own = list(self.trial.own_metrics)
        names = []
        for name in self.objectives:
            if not Plugin("objective").means(name):
                names.append(name)
                continue
            try:
                made = plugin_class("objective", name)()
            except TypeError as error:
                raise InputError(
                    f"objectives: value {name!r}: {one_line(error)}; allowed: a class whose fields "
                    "all have defaults"
                ) from error
            names.append(type(made).__name__)
            own += [made] if made not in own else []
        if own:
            object.__setattr__(self, "trial", replace(self.trial, own_metrics=own))
            object.__setattr__(self, "objectives", names)
            found = {type(o).__name__: o.metric for o in own}
            object.__setattr__(self, "metrics", {**self.metrics, **found})

    def known_objectives(self) -> dict[str, Objective]:
        """Ours, and those of the trial's task, by name."""
        return known_objectives(self.metrics)


def read_sweep(path: str | Path, in_full: bool = False) -> Sweep:
    """The Sweep of a file, each `*` of its space written out. InputError with file, field, value
    and what is allowed, in one line.

    in_full: the file is a run folder's, so a field that is not there came with a later version.
    """
    data = upgraded_sweep(strict_yaml.read_yaml(path, AS_WRITTEN), in_full)
    code = data.get("code") if isinstance(data, dict) else None
    for folder in code_paths(code) if isinstance(code, list) else ():
        see_folder(folder)
    sweep = strict_yaml.from_data(data, Sweep, path)
    if not any("*" in name for name in sweep.space):
        return sweep
    try:
        return replace(sweep, space=expanded(sweep.space, sweep.trial))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def check_name(name: str) -> None:
    """InputError unless the name is usable as a folder name."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise InputError(f"name: value {name!r}; allowed: letters, digits, - _ . (no leading dot)")


def set_fields(spec: TrialSpec, settings: list[str]) -> TrialSpec:
    """`field=value` settings of the command line applied; values are read as YAML."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set: value {setting!r}; allowed: field=value")
        values[name] = strict_yaml.parse_value(text)
    return with_values(spec, values)


def first_trial(sweep: Sweep) -> TrialSpec:
    """The trial with every field of the space at its low end or first choice."""
    return with_values(sweep.trial, {name: d.corners()[0] for name, d in sweep.space.items()})


def searched_sparsities(sweep: Sweep) -> dict[str, Range]:
    """Fields of the space that say how much of a modality, stage or layer goes."""
    return {
        name: dimension
        for name, dimension in sweep.space.items()
        if name.startswith(SPARSITIES) and isinstance(dimension, Range)
    }


def check_first(sweep: Sweep) -> None:
    """InputError for allocations to try first that the space has no sparsities for."""
    wrong = [name for name in sweep.first or () if name != "predicted"]
    if wrong and not _searches_sparsities(sweep):
        raise InputError(
            f"first: value {wrong[0]!r} with no range of {SPARSITIES}... in space; allowed here: "
            f"{'predicted' if TRADE_OFF in sweep.space else '[]'}"
        )


def _searches_sparsities(sweep: Sweep) -> bool:
    """Also by a `*` that is not written out yet."""
    return any("*" in name for name in sweep.space) or bool(searched_sparsities(sweep))


def check_predicted(sweep: Sweep) -> None:
    """InputError where nothing can be predicted: no sparsity searched, not of single weights, or
    objectives whose cost is not the FLOPs.
    """
    if sweep.sampler == "predicted":
        field, allowed = "sampler", "allowed here: auto, gp, tpe, nsga2, random"
    elif "predicted" in (sweep.first or ()) and TRADE_OFF not in sweep.space:
        field, allowed = "first", "allowed here: uniform, erk, papers"
    else:
        return
    if TRADE_OFF in sweep.space:
        if wrong := unpredictable(sweep):
            raise InputError(wrong)
    elif not _searches_sparsities(sweep):
        raise InputError(
            f"{field}: value 'predicted' with no range of {SPARSITIES}... in space; {allowed}"
        )
    pattern = sweep.trial.allocation.pattern
    if pattern != "unstructured":
        raise InputError(
            f"{field}: value 'predicted' with allocation.pattern {pattern!r}; {allowed}"
        )
    if field == "first":
        return
    costs = [name for name in sweep.objectives if name in BEFORE_TRAINING]
    if costs != ["GFLOPs"] or len(sweep.objectives) == 1:
        raise InputError(
            f"sampler: value 'predicted' with objectives {', '.join(sweep.objectives)}; allowed "
            "with it: GFLOPs, and any that measure quality"
        )


def unpredictable(sweep: Sweep) -> str | None:
    """What is searched of a trade-off that its prediction does not follow, and what is allowed."""
    for name, dimension in sweep.space.items():
        if not name.startswith("trade_off."):
            continue
        if name != TRADE_OFF and not name.startswith(TILT):
            return f"space.{name}: searched with a prediction; allowed: {TRADE_OFF} and {TILT}*"
        if not isinstance(dimension, Range):
            return f"space.{name}: choices with a prediction; allowed: a range, low and high"
    return None


def check_objectives(sweep: Sweep) -> None:
    """InputError for an objective that nothing is known of."""
    known = list(sweep.known_objectives())
    for name in sweep.objectives:
        if name not in known:
            raise InputError(
                f"objectives: value {name!r} is unknown{strict_yaml.closest(name, known)}; "
                f"allowed: {', '.join(known)}"
            )


def check_halving(sweep: Sweep) -> None:
    """InputError for a rung that is no cheaper than the whole trial."""
    if sweep.halving is None:
        return
    searched = sweep.space.get("fine_tune.steps")
    most = sweep.trial.fine_tune.steps
    if searched is not None:
        most = max(most, *(int(str(steps)) for steps in searched.corners()))
    for rung in sweep.halving.rungs:
        if rung.steps > most or (rung.steps == most and rung.frames == 1.0):
            raise InputError(
                f"halving.rungs: {rung} is no cheaper than full fidelity; allowed: fewer than "
                f"trial.fine_tune.steps ({most}), or so many on a share of the frames"
            )


def check_measured(sweep: Sweep) -> None:
    """InputError unless every trial of the sweep measures all objectives and bounded metrics."""
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
                    raise InputError(
                        f"{asking}: {name!r} {known}{near}; this trial{with_choice} measures: "
                        f"{', '.join(names)}"
                    )


PATHS = ("checkpoint", "root")
"""Ends of the names of fields that are paths."""
