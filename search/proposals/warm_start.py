"""Results of earlier sweeps over the same trial, taken over as if they had been measured here."""

from __future__ import annotations

import os
import shutil

from search.optimizer import Optimizer
from search.proposals.for_sweep import allowed_value, as_searched, tell
from search.runs.run_store import RunFolder, StoredTrial, has_ended, read_finished, run_folder
from search.space import Value, value_of, with_values
from search.sweep_file import Sweep
from search.trials.spec import TrialSpec


def take_over(sweep: Sweep, optimizer: Optimizer, run: RunFolder) -> list[str]:
    """Copies the finished trials of `sweep.warm_start` that this sweep could have run itself; they
    do not count as its trials. Returns a line for each folder. Doing it again adds nothing.
    """
    said = []
    for folder in sweep.warm_start:
        trials = read_finished(earlier(folder).pulled())
        fitting = [(t, values) for t in trials if (values := values_in(sweep, t)) is not None]
        taken = [t for t, values in fitting if _take(sweep, optimizer, run, t, values)]
        unknown = sum(_lost_trade_off(sweep, trial) for trial in trials)
        others = len(trials) - len(fitting) - unknown
        said.append(
            f"{folder}: {len(taken)} of {len(trials)} results taken over; "
            f"{others} are of another trial or outside the space"
            + (f"; {unknown} do not say which trade_off they were of" if unknown else "")
        )
    return said


def earlier(folder: str) -> RunFolder:
    """The sweep in a folder. ValueError where there is none."""
    runs, name = os.path.split(folder.rstrip("/"))
    run = run_folder(runs, name, "warm_start")
    if not run.exists():
        raise ValueError(
            f"warm_start: value {folder!r} holds no sweep; allowed: folders with a sweep.yaml"
        )
    return run


def values_in(sweep: Sweep, trial: StoredTrial) -> dict[str, Value] | None:
    """What the trial has in the fields of the sweep's space; None where it lies outside of it or
    differs from the sweep's own trial in anything else. One that was asked for by a trade-off also
    has the allocation that this became.
    """
    values = _values_in(sweep, trial.asked)
    return _values_in(sweep, trial.spec) if values is None else values


def _lost_trade_off(sweep: Sweep, trial: StoredTrial) -> bool:
    """Whether the sweep searches trade-offs, and the trial's may have been one that earlier
    versions did not keep.
    """
    searched = any(name.startswith("trade_off.") for name in sweep.space)
    return searched and trial.asked.trade_off is None


def _values_in(sweep: Sweep, spec: TrialSpec) -> dict[str, Value] | None:
    values: dict[str, Value] = {}
    for name in sweep.space:
        try:
            value = as_searched(sweep, name, value_of(spec, name))
        except (AssertionError, ValueError):
            return None
        if not allowed_value(sweep, name, value):
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
        made = run.trials / f".{number}"
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(trial.whole(), made)
        made.rename(run.trial_dir(number))
    run.push(run.storage)
    run.publish(number)
    tell(optimizer, sweep, number, trial.result)
    return True
