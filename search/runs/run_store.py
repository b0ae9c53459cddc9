"""The folder of one sweep: its layout, and reads and writes that never leave half a file.

Under a URI (run_folder.py) the layout is the same, but for MLflow's files, ray/ and .lock.

OUT/mlflow.db mlflow-artifacts/        what MLflow shows, of all sweeps under OUT
OUT/NAME/sweep.yaml                    the sweep as it was launched, paths absolute
         launch.json                   its id, Ray address and tracking URI, for resume
         look.json                     where its MLflow page is, for `sparsefront ui`
         agreement.json                how far the predicted losses turned out right, if any were
         optuna.log                    Optuna's journal, the truth of the search
         trials/<id>/spec.json         what the trial was (written at its first rung, or its end)
                     asked.json        as it was asked for, only where a trade-off became the
                                       allocation of spec.json
                     mask.safetensors  bool tensor per pruned weight, True = kept
                     weights.safetensors  full state dict, pruned weights zero
                     failure.json      reason, only of a trial that failed
                     stopped.json      reason and looks, only of a trial ended before full fidelity
                     checkpoint.json   looks so far, only of a trial under way, with
                     checkpoint-N.safetensors  all it needs to go on after its N-th look
                     checkpoint-promoted.json  after how many looks halving let it go on
                     result.json       written LAST: its existence means finished
         front.png front.html small.png  the front, as pictures and as a page
         report.html front.parquet     everything on one page; all finished trials as a table
         charts/NAME.png .html         every chart (docs/inspect.md)
         ray/                          Ray Tune's own records
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pruning.channels.removal import Kept, kept_from_json, kept_to_json
from search.runs.run_folder import RunFolder as RunFolder
from search.runs.run_folder import has_ended as has_ended
from search.runs.run_folder import list_sweeps as list_sweeps
from search.runs.run_folder import run_folder as run_folder
from search.runs.shared_storage import FULL, SharedStorage
from search.trials.spec import (
    Look,
    TrialOutcome,
    TrialResult,
    TrialSpec,
    result_from_dict,
    spec_from_dict,
)


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """A finished trial as read back from disk (tensors stay on disk until asked for).

    asked  the trial as it was asked for: `spec`, but for a trade-off, whose allocation spec has
    """

    trial_id: int
    spec: TrialSpec
    asked: TrialSpec
    result: TrialResult
    path: Path
    shared: SharedStorage | None = None

    def mask(self) -> dict[str, Tensor]:
        return load_tensors(self._fetched("mask.safetensors"))

    def state_dict(self) -> dict[str, Tensor]:
        return load_tensors(self._fetched("weights.safetensors"))

    def channels(self) -> Kept:
        """Positions left of each tensor; empty where no channel was removed."""
        file = self.path / "channels.json"
        return kept_from_json(read_json(file)) if file.is_file() else {}

    def whole(self) -> Path:
        """Its folder, with every file in it."""
        if self.shared is not None:
            self.shared.pull(self.path, "*")
        return self.path

    def _fetched(self, name: str) -> Path:
        if self.shared is not None:
            self.shared.fetch(self.path / name)
        return self.path / name


def write_trial(
    run: RunFolder,
    trial_id: int,
    outcome: TrialOutcome,
) -> Path:
    """Writes a finished trial; result.json goes last and atomically."""
    folder = run.trial_dir(trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", outcome.spec.to_dict())
    if outcome.asked != outcome.spec:
        write_json(folder / "asked.json", outcome.asked.to_dict())
    write_tensors(folder / "mask.safetensors", outcome.mask)
    write_tensors(folder / "weights.safetensors", outcome.state_dict)
    if outcome.channels:
        write_json(folder / "channels.json", kept_to_json(outcome.channels))
    (folder / "failure.json").unlink(missing_ok=True)
    write_json(folder / "result.json", outcome.result.to_dict())
    run.publish(trial_id)
    return folder


def write_failure(run: RunFolder, trial_id: int, spec: TrialSpec | None, reason: str) -> None:
    """Records why a trial failed; never overwrites a finished one."""
    folder = run.trial_dir(trial_id)
    if (folder / "result.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if spec is not None:
        write_json(folder / "spec.json", spec.to_dict())
    write_json(folder / "failure.json", {"reason": reason})
    run.publish(trial_id)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why a trial was ended before full fidelity, what it costs, and the looks had at it.

    least  the costs are the least that it could have had, as its mask was not known yet
    """

    reason: str
    costs: dict[str, float]
    looks: list[Look]
    least: bool = False


Ending = StoredTrial | Stop | str
"""How a trial ended: finished, stopped early, or the reason why it failed."""


def write_stopped(run: RunFolder, trial_id: int, spec: TrialSpec | None, stop: Stop) -> None:
    """Records that a trial was stopped; its checkpoint goes."""
    folder = run.trial_dir(trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    if spec is not None:
        write_json(folder / "spec.json", spec.to_dict())
    write_json(folder / "stopped.json", asdict(stop))
    run.publish(trial_id)


def read_stopped(run: RunFolder, trial_id: int) -> Stop | None:
    """None for a trial that was not stopped."""
    file = run.trial_dir(trial_id) / "stopped.json"
    return Stop(**read_json(file)) if file.is_file() else None


def read_failure(run: RunFolder, trial_id: int) -> str | None:
    """Why a trial failed; None for one that did not."""
    file = run.trial_dir(trial_id) / "failure.json"
    return str(read_json(file)["reason"]) if file.is_file() else None


def read_trial(run: RunFolder, trial_id: int) -> StoredTrial:
    """A finished trial; ValueError naming the finished ones when there is no such trial."""
    folder = run.trial_dir(trial_id)
    if not (folder / "result.json").is_file():
        known = ", ".join(map(str, run.finished())) or "none"
        raise ValueError(
            f"trial: value {trial_id!r} is not finished in {run.place}; finished: {known}"
        )
    spec = spec_from_dict(read_json(folder / "spec.json"))
    asked = folder / "asked.json"
    return StoredTrial(
        trial_id=trial_id,
        spec=spec,
        asked=spec_from_dict(read_json(asked)) if asked.is_file() else spec,
        result=result_from_dict(read_json(folder / "result.json")),
        path=folder,
        shared=run.shared,
    )


def read_finished(run: RunFolder) -> list[StoredTrial]:
    """Every finished trial, by id."""
    return [read_trial(run, trial_id) for trial_id in run.finished()]


def read_spec(run: RunFolder, trial_id: int) -> TrialSpec | None:
    """What a trial was, finished or not; None where it never got to say so."""
    file = run.trial_dir(trial_id) / "spec.json"
    return spec_from_dict(read_json(file)) if file.is_file() else None


def remove_unfinished(run: RunFolder, trial_id: int) -> None:
    """Deletes what a killed trial left, but for a checkpoint to go on from; a finished trial is
    never touched.
    """
    folder = run.trial_dir(trial_id)
    kept = ("result.json", "checkpoint.json")
    if any((folder / name).exists() for name in kept):
        return
    if folder.exists():
        shutil.rmtree(folder)
    run.withdraw(trial_id)


def looks_at_all(run: RunFolder) -> dict[int, list[Look]]:
    """Trial id -> the looks at rungs below full fidelity, of every trial that has any."""
    found: dict[int, list[Look]] = {}
    for name, field in (("result", "looks"), ("stopped", "looks"), ("checkpoint", "rungs")):
        for file in run.of_trials(f"{name}.json"):
            try:
                looks = read_json(file).get(field)
            except (ValueError, AttributeError):
                if name != "checkpoint":
                    raise
                continue  # its trial starts again
            if looks:
                found[int(file.parent.name)] = looks
    return dict(sorted(found.items()))


def write_json(path: Path, data: Any) -> None:
    """JSON by temporary file and rename; floats keep every bit."""
    write_bytes(path, (json.dumps(data, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """ValueError, one line, for a missing or corrupt file."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON: {_first_line(error)}") from error


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """safetensors by temporary file and rename; shared or strided tensors are copied."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(plain, temporary, metadata=metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_tensors(path: Path) -> dict[str, Tensor]:
    """ValueError, one line, for a missing or corrupt file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a safetensors file: {_first_line(error)}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Any content by temporary file, fsync and rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def no_space(error: BaseException) -> bool:
    """Whether the disk, or one's share of it, is full."""
    if isinstance(error, OSError):
        return error.errno in FULL
    text = str(error)  # of safetensors, or of Tune around an error of ours
    return any(f"os error {n})" in text or f"[Errno {n}]" in text for n in FULL)


def full_disk(where: object, run: RunFolder) -> str:
    """What to say of a full disk."""
    return f"no space left on {where}; free some, then {run.resume()} goes on with the sweep"


def drop_torn_line(journal: Path) -> None:
    """Cuts a last line that a full disk or a power cut left without its end: what is appended to
    it could not be read again.
    """
    if not journal.is_file():
        return
    with open(journal, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
