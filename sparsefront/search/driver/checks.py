"""Whether a sweep can run: everything that its trials need opened once, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

from sparsefront.errors import InputError
from sparsefront.search.config.grouping import check_searched
from sparsefront.search.config.space import Choices, with_values
from sparsefront.search.config.sweep_file import Sweep, check_first, first_trial, read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.driver.warm_start import open_previous_run
from sparsefront.search.trial.checks import check_trial


def read_checked(path: str | Path) -> Sweep:
    """read_sweep, and everything that its trials need opened once. InputError as there."""
    sweep = read_sweep(path)
    try:
        check_inputs(sweep)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return sweep


BUILT_BY = ("model", "checkpoint", "task")
"""Fields of a trial that another model may follow from."""


def other_models(sweep: Sweep) -> list[TrialSpec]:
    """The first trial with each other model and checkpoint of the space."""
    first = first_trial(sweep)
    return [
        with_values(first, {name: choice})
        for name, dimension in sweep.space.items()
        if isinstance(dimension, Choices) and name.partition(".")[0] in BUILT_BY
        for choice in dimension.choices[1:]
    ]


def check_inputs(sweep: Sweep) -> None:
    """Opens everything a trial needs, before anything is written. InputError in one line.

    The data roots with their versions and splits, the checkpoint against the model, the names in
    the allocation against the model's weights.
    """
    check_first(sweep)
    for folder in sweep.warm_start:
        open_previous_run(folder)
    for spec in [sweep.trial, first_trial(sweep), *other_models(sweep)]:
        check_trial(spec)
    check_searched(sweep.trial, sweep.space)
    if sweep.cpus_per_trial > (os.cpu_count() or 1) * 1024:
        raise InputError(f"field cpus_per_trial: value {sweep.cpus_per_trial!r} is not a CPU count")
