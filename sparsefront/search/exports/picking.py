"""The trial that --pick names, and what to say where it cannot be exported."""

from __future__ import annotations

import re

from sparsefront.errors import InputError
from sparsefront.search.runs.front import ParetoFront
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial, read_end


def pick_trial(front: ParetoFront, run: RunFolder, pick: str) -> StoredTrial:
    """InputError, one line: what the pick lacks and what there is."""
    number = re.fullmatch(r"trial:(\d+)", pick)
    if number is not None and int(number[1]) not in run.finished():
        _require_finished(front, run, pick, int(number[1]))
    return front.pick(pick)


def _require_finished(front: ParetoFront, run: RunFolder, pick: str, trial: int) -> None:
    finished = ", ".join(map(str, run.finished())) or "none"
    end = read_end(run, trial)
    if end is not None and end.status == "failed":
        why = f"the trial failed: {end.reason}"
    elif end is not None:
        why = f"the trial was stopped before full fidelity: {end.reason}"
    elif run.trial_dir(trial).is_dir():
        why = "the trial has not finished"
    else:
        why = f"sweep {front.name!r} has no such trial"
    raise InputError(f"--pick: value {pick!r}: {why}; finished trials: {finished}")
