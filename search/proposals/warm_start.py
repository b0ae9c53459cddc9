"""Results of earlier sweeps over the same trial, taken over as if they had been measured here."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.optimizer import Optimizer
from search.proposals.for_sweep import allowed_value, tell
from search.run_store import RunFolder, StoredTrial, read_finished
from search.space import Value, value_of, with_values
from search.sweep_file import Sweep


def take_over(sweep: Sweep, optimizer: Optimizer, run: RunFolder) -> list[str]:
    """Copies the finished trials of `sweep.warm_start` that this sweep could have run itself; they
    do not count as its trials. Returns a line for each folder. Doing it again adds nothing.
    """
    said = []
    for folder in sweep.warm_start:
        trials = read_finished(earlier(folder))
        fitting = [(t, values) for t in trials if (values := values_in(sweep, t)) is not None]
        taken = [t for t, values in fitting if _take(sweep, optimizer, run, t, values)]
        said.append(
            f"{folder}: {len(taken)} of {len(trials)} results taken over; "
            f"{len(trials) - len(fitting)} are of another trial or outside the space"
        )
    return said


def earlier(folder: str) -> RunFolder:
    """The sweep in a folder. ValueError where there is none."""
    path = Path(folder)
    run = RunFolder(out=path.parent, name=path.name)
    if not run.exists():
        raise ValueError(
            f"warm_start: value {folder!r} holds no sweep; allowed: folders with a sweep.yaml"
        )
    return run


def values_in(sweep: Sweep, trial: StoredTrial) -> dict[str, Value] | None:
    """What the trial has in the fields of the sweep's space; None where it lies outside of it or
    differs from the sweep's own trial in anything else.
    """
    values: dict[str, Value] = {}
    for name in sweep.space:
        try:
            value = value_of(trial.spec, name)
        except (AssertionError, ValueError):
            return None
        if not allowed_value(sweep, name, value):
            return None
        values[name] = value
    return values if with_values(sweep.trial, values) == trial.spec else None


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
    made = run.trials / f".{number}"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(trial.path, made)
    made.rename(run.trial_dir(number))
    tell(optimizer, sweep, number, trial.result)
    return True
