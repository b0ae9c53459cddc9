"""Results of earlier sweeps over the same trial, taken over as if they had been measured here."""

from __future__ import annotations

import os
import shutil

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import whole_folder
from sparsefront.search.config.space import Value, value_of, with_values
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.for_sweep import is_allowed, searched_value, tell_end
from sparsefront.search.runs.run_folder import RunFolder, has_ended, run_folder
from sparsefront.search.runs.trial_reader import StoredTrial, read_finished


def take_over(sweep: Sweep, optimizer: Optimizer, run: RunFolder) -> list[str]:
    """Copies the finished trials of `sweep.warm_start` that this sweep could have run itself; they
    do not count as its trials. Returns a line for each folder. Doing it again adds nothing.
    """
    lines = []
    for folder in sweep.warm_start:
        trials = read_finished(open_previous_run(folder).pull())
        fitting = [(t, values) for t in trials if (values := values_in(sweep, t)) is not None]
        taken = [t for t, values in fitting if _take(sweep, optimizer, run, t, values)]
        unknown = sum(_has_unknown_trade_off(sweep, trial) for trial in trials)
        others = len(trials) - len(fitting) - unknown
        lines.append(
            f"{folder}: {len(taken)} of {len(trials)} results taken over; "
            f"{others} are of another trial or outside the space"
            + (f"; {unknown} do not say which trade_off they were of" if unknown else "")
        )
    return lines


def open_previous_run(folder: str) -> RunFolder:
    """The sweep in a folder. InputError where there is none."""
    runs, name = os.path.split(folder.rstrip("/"))
    run = run_folder(runs, name, "warm_start")
    if not run.exists():
        raise InputError(
            f"warm_start: value {folder!r} holds no sweep; allowed: folders with a sweep.yaml"
        )
    return run


def values_in(sweep: Sweep, trial: StoredTrial) -> dict[str, Value] | None:
    """What the trial has in the fields of the sweep's space; None where it lies outside of it or
    differs from the sweep's own trial in anything else. One that was asked for by a trade-off also
    has the allocation that this became.
    """
    values = _values_in(sweep, trial.requested)
    return _values_in(sweep, trial.spec) if values is None else values


def _has_unknown_trade_off(sweep: Sweep, trial: StoredTrial) -> bool:
    """Whether the sweep searches trade-offs, and the trial's may have been one that earlier
    versions did not keep.
    """
    searched = any(name.startswith("trade_off.") for name in sweep.space)
    return searched and trial.requested.trade_off is None


def _values_in(sweep: Sweep, spec: TrialSpec) -> dict[str, Value] | None:
    values: dict[str, Value] = {}
    for name in sweep.space:
        try:
            value = searched_value(sweep, name, value_of(spec, name))
        except (AssertionError, InputError):
            return None
        if not is_allowed(sweep, name, value):
            return None
        values[name] = value
    return values if with_values(sweep.trial, values) == with_values(spec, values) else None


def _take(
    sweep: Sweep,
    optimizer: Optimizer,
    run: RunFolder,
    trial: StoredTrial,
    values: dict[str, Value],
) -> bool:
    """False where these values are known already."""
    number = optimizer.adopt(values)
    if number is None:
        return False
    if not has_ended(run.trial_dir(number)):  # it was copied before a driver died
        with whole_folder(run.trial_dir(number)) as made:
            shutil.copytree(trial.fetched(), made, dirs_exist_ok=True)
    run.push(run.journal)
    run.publish(number)
    tell_end(optimizer, sweep, TrialEnd.finished(number, trial.result))
    return True
