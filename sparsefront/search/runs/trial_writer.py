"""How a trial ended, written into its folder: what says so goes last."""

from __future__ import annotations

import shutil
from pathlib import Path

from sparsefront.files.atomic import write_json
from sparsefront.search.config.trial_files import (
    CHECKPOINT,
    FAILURE,
    REQUESTED_SPEC,
    RESULT,
    SPEC,
    STOPPED,
)
from sparsefront.search.config.trial_outcome import TrialOutcome
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.runs.pruned_files import write_pruned_weights
from sparsefront.search.runs.run_folder import RunFolder


def write_trial(run: RunFolder, trial_id: int, outcome: TrialOutcome) -> Path:
    """Writes a finished trial; result.json goes last."""
    folder = run.trial_dir(trial_id)
    write_json(folder / SPEC, outcome.spec.to_dict())
    if outcome.requested != outcome.spec:
        write_json(folder / REQUESTED_SPEC, outcome.requested.to_dict())
    write_pruned_weights(folder, outcome.weights)
    (folder / FAILURE).unlink(missing_ok=True)
    write_json(folder / RESULT, outcome.result.to_dict())
    run.publish(trial_id)
    return folder


def write_end(run: RunFolder, end: TrialEnd, spec: TrialSpec | None = None) -> None:
    """Records why a trial failed or was stopped; a finished one stays finished."""
    folder = run.trial_dir(end.trial_id)
    if (folder / RESULT).exists():
        return
    if spec is not None:
        write_json(folder / SPEC, spec.to_dict())
    if end.status == "failed":
        write_json(folder / FAILURE, {"reason": end.reason})
    else:
        write_json(
            folder / STOPPED,
            {
                "reason": end.reason,
                "costs": dict(end.costs),
                "costs_are_lower_bounds": end.costs_are_lower_bounds,
                "intermediate_results": list(end.intermediate_results),
            },
        )
    run.publish(end.trial_id)


def remove_unfinished(run: RunFolder, trial_id: int) -> None:
    """Deletes what a killed trial left, but for a checkpoint to go on from; a finished trial is
    never touched.
    """
    folder = run.trial_dir(trial_id)
    if any((folder / name).exists() for name in (RESULT, CHECKPOINT)):
        return
    if folder.exists():
        shutil.rmtree(folder)
    run.withdraw(trial_id)
