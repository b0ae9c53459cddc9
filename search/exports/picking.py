"""The trial that --pick names, and what to say where it cannot be exported."""

from __future__ import annotations

import re

from search.front import ParetoFront
from search.runs.run_store import RunFolder, StoredTrial, read_failure, read_stopped


def picked(front: ParetoFront, run: RunFolder, pick: str) -> StoredTrial:
    """ValueError, one line: what the pick lacks and what there is."""
    number = re.fullmatch(r"trial:(\d+)", pick)
    if number is not None and int(number[1]) not in run.finished():
        _require_finished(front, run, pick, int(number[1]))
    return front.pick(pick)


def _require_finished(front: ParetoFront, run: RunFolder, pick: str, trial: int) -> None:
    finished = ", ".join(map(str, run.finished())) or "none"
    if (reason := read_failure(run, trial)) is not None:
        why = f"the trial failed: {reason}"
    elif (stop := read_stopped(run, trial)) is not None:
        why = f"the trial was stopped before full fidelity: {stop.reason}"
    elif run.trial_dir(trial).is_dir():
        why = "the trial has not finished"
    else:
        why = f"sweep {front.name!r} has no such trial"
    raise ValueError(f"--pick: value {pick!r}: {why}; finished trials: {finished}")
