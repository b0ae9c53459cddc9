"""Trials as read back from a run folder, in the order of their ids. Free of torch until somebody
asks for a trial's spec or tensors, so that a front is printed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json
from sparsefront.search.config.trial_files import (
    CHECKPOINT,
    FAILURE,
    REQUESTED_SPEC,
    REQUESTED_SPEC_0_1,
    RESULT,
    SPEC,
    STOPPED,
)
from sparsefront.search.config.trial_result import (
    IntermediateResult,
    TrialEnd,
    TrialResult,
    result_from_dict,
)
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.shared_storage import SharedStorage

if TYPE_CHECKING:
    from sparsefront.pruning.pruned_weights import PrunedWeights
    from sparsefront.search.config.trial_spec import TrialSpec


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """A finished trial as read back from disk; spec and tensors stay there until asked for."""

    trial_id: int
    result: TrialResult
    path: Path
    shared: SharedStorage | None = None

    @cached_property
    def spec(self) -> TrialSpec:
        """What was run: a trade-off turned into its allocation."""
        return _read_spec(self.path / SPEC)

    @cached_property
    def requested(self) -> TrialSpec:
        """The trial as it was requested: `spec`, but for a trade-off that became an allocation."""
        for name in (REQUESTED_SPEC, REQUESTED_SPEC_0_1):
            if (self.path / name).is_file():
                return _read_spec(self.path / name)
        return self.spec

    def weights(self) -> PrunedWeights:
        """Weights, masks and channels left."""
        from sparsefront.search.runs.pruned_files import read_pruned_weights

        return read_pruned_weights(self.fetched())

    def fetched(self) -> Path:
        """Its folder, with every file in it on this machine."""
        if self.shared is not None:
            self.shared.pull(self.path, "*")
        return self.path


def read_trial(run: RunFolder, trial_id: int) -> StoredTrial:
    """A finished trial; InputError naming the finished ones when there is no such trial."""
    folder = run.trial_dir(trial_id)
    if not (folder / RESULT).is_file():
        known = ", ".join(map(str, run.finished())) or "none"
        raise InputError(
            f"trial: value {trial_id!r} is not finished in {run.display_uri}; finished: {known}"
        )
    result = result_from_dict(read_json(folder / RESULT))
    return StoredTrial(trial_id=trial_id, result=result, path=folder, shared=run.shared)


def read_finished(run: RunFolder) -> list[StoredTrial]:
    """Every finished trial, by id."""
    return [read_trial(run, trial_id) for trial_id in run.finished()]


def read_end(run: RunFolder, trial_id: int) -> TrialEnd | None:
    """How a trial ended; None for one that has not."""
    folder = run.trial_dir(trial_id)
    if (folder / RESULT).is_file():
        return TrialEnd.finished(trial_id, read_trial(run, trial_id).result)
    if (folder / STOPPED).is_file():
        found = read_json(folder / STOPPED)
        return TrialEnd.stopped(
            trial_id, found["reason"], found["costs"], _intermediate_results(found),
            costs_are_lower_bounds=found.get("costs_are_lower_bounds", found.get("least", False)),
        )  # fmt: skip
    if (folder / FAILURE).is_file():
        return TrialEnd.failed(trial_id, str(read_json(folder / FAILURE)["reason"]))
    return None


def read_spec(run: RunFolder, trial_id: int) -> TrialSpec | None:
    """What a trial was, finished or not; None where it ended before that was written."""
    file = run.trial_dir(trial_id) / SPEC
    return _read_spec(file) if file.is_file() else None


def read_intermediate_results(run: RunFolder) -> dict[int, list[IntermediateResult]]:
    """Trial id -> what it measured at rungs below full fidelity, of every trial that has any."""
    found: dict[int, list[IntermediateResult]] = {}
    for name in (RESULT, STOPPED, CHECKPOINT):
        for file in run.trial_files(name):
            try:
                results = _intermediate_results(read_json(file))
            except (InputError, AttributeError):
                if name != CHECKPOINT:
                    raise
                continue  # its trial starts again
            if results:
                found[int(file.parent.name)] = results
    return dict(sorted(found.items()))


def _intermediate_results(data: dict[str, list[IntermediateResult]]) -> list[IntermediateResult]:
    """Of a result, a stopped trial or a checkpoint; `looks` and `rungs` before version 0.2."""
    names = ("intermediate_results", "looks", "rungs")
    return next((data[name] for name in names if data.get(name)), [])


def _read_spec(file: Path) -> TrialSpec:
    from sparsefront.search.config.trial_spec import spec_from_dict

    return spec_from_dict(read_json(file), file)
