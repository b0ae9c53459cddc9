"""Where one sweep lies: the paths of its folder, and what of it crosses to shared storage.

RUNS/mlflow.db mlflow-artifacts/       what MLflow shows, of all sweeps under RUNS
RUNS/NAME/sweep.yaml                   the sweep as it was launched, paths absolute
          launch.json                  its id, Ray address and tracking URI, for resume
          mlflow.json                  where its MLflow page is, for `sparsefront ui`
          agreement.json               how far the predicted losses turned out right, if any were
          optuna.log                   Optuna's journal, the truth of the search
          trials/<id>/spec.json        what the trial was (written at its first rung, or its end)
                      requested_spec.json  as it was requested, only where a trade-off became the
                                       allocation of spec.json
                      weights.safetensors  full state dict, pruned weights zero
                      masks.safetensors    bool tensor per pruned weight, True = kept
                      channels.json    channels left, only where channels were removed
                      failure.json     reason, only of a trial that failed
                      stopped.json     reason and intermediate results, only of a trial that was
                                       stopped before full fidelity
                      checkpoint.json  intermediate results so far, only of a trial under way, with
                      checkpoint-N.safetensors  all it needs to go on after its N-th rung
                      checkpoint-promoted.json  after how many rungs halving let it go on
                      result.json      written LAST: its existence means finished
          front.png front.html small.png  the front, as pictures and as a page
          report.html front.parquet    everything on one page; all finished trials as a table
          charts/NAME.png .html        every chart (docs/inspect.md)
          ray/                         Ray Tune's own records

Under a URI the layout is the same, but for MLflow's files, ray/ and .lock. Version 0.1 wrote
look.json, asked.json and mask.safetensors for mlflow.json, requested_spec.json and
masks.safetensors; they are read too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json
from sparsefront.plugins import see_folder
from sparsefront.search.config.trial_files import CHECKPOINT, ENDINGS, RESULT
from sparsefront.search.runs.shared_storage import SharedStorage, is_uri

RUNS = "runs"
"""The folder of all runs where nobody names another."""
SQLITE = "sqlite:///"
SMALL = ("*.json", "*.yaml", "optuna.log")


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Paths of one sweep. Making the object touches nothing on disk.

    runs    the folder of all runs
    shared  None where `runs` itself is what all machines see; else `runs` is a folder of this
            machine that stands for the URI, what is written is pushed, what others wrote is pulled
    """

    runs: Path
    name: str
    shared: SharedStorage | None = None

    @property
    def path(self) -> Path:
        return Path(self.runs) / self.name

    @property
    def sweep_file(self) -> Path:
        return self.path / "sweep.yaml"

    @property
    def journal(self) -> Path:
        return self.path / "optuna.log"

    @property
    def launch_file(self) -> Path:
        return self.path / "launch.json"

    @property
    def mlflow_file(self) -> Path:
        older = self.path / "look.json"  # its name in version 0.1
        return older if older.is_file() else self.path / "mlflow.json"

    @property
    def dense_file(self) -> Path:
        """What the dense model measured."""
        return self.path / "dense.json"

    @property
    def agreement_file(self) -> Path:
        return self.path / "agreement.json"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    @property
    def runs_uri(self) -> str:
        """The folder of all runs as the user names it: a path or a URI."""
        return str(self.runs) if self.shared is None else self.shared.uri

    @property
    def display_uri(self) -> str:
        """This sweep's folder as the user names it."""
        return str(self.path) if self.shared is None else f"{self.shared.uri}/{self.name}"

    @property
    def mlflow_root(self) -> Path:
        """Where MLflow's own database goes: beside the runs, of a URI on this machine."""
        return self.runs if self.shared is None else local_copy(self.shared.uri)

    @property
    def mlflow_database(self) -> str:
        """The tracking URI of that database."""
        return f"{SQLITE}{self.mlflow_database_file}"

    @property
    def mlflow_database_file(self) -> Path:
        return self.mlflow_root.absolute() / "mlflow.db"

    def trial_dir(self, trial_id: int) -> Path:
        return self.trials / str(trial_id)

    def exists(self) -> bool:
        if self.shared is None:
            return self.sweep_file.is_file()
        return self.shared.exists(self.sweep_file)

    def resume_command(self) -> str:
        """The command that goes on with this sweep, from the current folder."""
        if self.shared is None and Path(self.runs).absolute() == Path(RUNS).absolute():
            return f"`sparsefront resume {self.name}`"
        return f"`sparsefront resume {self.name} --runs {shlex.quote(self.runs_uri)}`"

    def disk_full_message(self, where: object) -> str:
        """What to say of a full disk."""
        return (
            f"no space left on {where}; free some, then {self.resume_command()} goes on with the "
            "sweep"
        )

    def require(self) -> RunFolder:
        """Itself, or InputError naming the sweeps that do exist."""
        if self.exists():
            return self
        known = ", ".join(list_sweeps(self.runs_uri)) or "none yet"
        raise InputError(
            f"sweep name: value {self.name!r} not found in {self.runs_uri}; known: {known}"
        )

    def finished(self) -> list[int]:
        """Ids of finished trials, ascending."""
        return sorted(int(file.parent.name) for file in self.trial_files(RESULT))

    def trial_files(self, name: str) -> list[Path]:
        """The files of this name that trials have; folders that are not whole yet begin with a
        dot.
        """
        return [f for f in self.trials.glob(f"*/{name}") if f.parent.name.isdigit()]

    def push(self, *files: Path) -> None:
        """Lets every machine see files that were written here."""
        if self.shared is not None:
            self.shared.push(*files)

    def pull(self) -> RunFolder:
        """Itself, with everything small that the storage has (no tensors). A copy that an earlier
        sweep of this name left is forgotten.
        """
        if self.shared is not None:
            before = self.launch_file.read_bytes() if self.launch_file.is_file() else b""
            if before and self.shared.read(self.launch_file) != before:
                shutil.rmtree(self.path)
            self.shared.pull(self.path, *SMALL)
        self._see_own_code()
        return self

    def _see_own_code(self) -> None:
        """Classes of one's own that the sweep names are in the folder of its launch, wherever one
        looks at it from.
        """
        if self.launch_file.is_file():
            folder = read_json(self.launch_file).get("folder")
            if folder is not None:
                see_folder(folder)

    def pull_trial(self, trial_id: int, *also: str) -> None:
        """What other machines say of a trial, without tensors but for `also`."""
        if self.shared is not None:
            folder = self.trial_dir(trial_id)
            (folder / CHECKPOINT).unlink(missing_ok=True)  # it may be gone there
            self.shared.pull(folder, *SMALL, *also)

    def publish(self, trial_id: int) -> None:
        """Lets every machine see a trial as it is here: tensors first, what says how it stands
        last; then its older checkpoint goes, which a trial that ended has none of.
        """
        if self.shared is None:
            return
        folder = self.trial_dir(trial_id)
        ended = has_ended(folder)
        here = [f for f in folder.iterdir() if not f.name.startswith(".")]
        kept = [f for f in here if not (ended and f.name.startswith("checkpoint"))]
        self.shared.push(*sorted(kept, key=lambda f: (f.name in (*ENDINGS, CHECKPOINT), f.name)))
        names = {f.name for f in kept}
        old = [n for n in self.shared.names(folder) if n.startswith((".", "checkpoint"))]
        gone = sorted((n for n in old if n not in names), key=lambda n: n == CHECKPOINT)
        self.shared.remove(*(folder / name for name in gone))

    def withdraw(self, trial_id: int) -> None:
        """Removes a trial that never ended from the storage."""
        if self.shared is not None:
            folder = self.trial_dir(trial_id)
            self.shared.remove(*(folder / name for name in self.shared.names(folder)))


def has_ended(folder: Path) -> bool:
    """Whether a trial's folder says how it ended."""
    return any((folder / ending).is_file() for ending in ENDINGS)


def run_folder(runs: str | Path, name: str, option: str = "--runs") -> RunFolder:
    """A sweep under a path, or under a URI with a folder that this machine keeps for reading.
    InputError for a URI that cannot be opened; `option` is the one that gave `runs`.
    """
    if not is_uri(runs):
        return RunFolder(runs=Path(runs), name=name)
    uri = str(runs).rstrip("/")
    shared = SharedStorage(uri=uri, local=local_copy(uri), option=option)
    shared.check()
    return RunFolder(runs=shared.local, name=name, shared=shared)


def list_sweeps(runs: str | Path) -> list[str]:
    """Names of the sweeps under a path or a URI, sorted."""
    shared = run_folder(runs, "").shared
    if shared is not None:
        return shared.folders_with("sweep.yaml")
    return sorted(p.parent.name for p in Path(runs).glob("*/sweep.yaml"))


@contextmanager
def working_copy(run: RunFolder) -> Iterator[RunFolder]:
    """The sweep for a process that writes: of a path the same, absolute; of a URI on a folder of
    this process alone, empty at first and removed at the end. What killed processes left goes.
    """
    if run.shared is None:
        yield replace(run, runs=run.runs.absolute())
        return
    with _own_folder(cache_folder() / "work") as own:
        yield replace(run, runs=own, shared=replace(run.shared, local=own))


@contextmanager
def _own_folder(place: Path) -> Iterator[Path]:
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with open(place / ".lock", "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            for left in place.iterdir():
                _remove_unless_held(left)
            own = Path(tempfile.mkdtemp(dir=place))
            held.callback(shutil.rmtree, own, ignore_errors=True)
            fcntl.flock(held.enter_context(open(own / ".lock", "w")), fcntl.LOCK_EX)
        yield own


def _remove_unless_held(folder: Path) -> None:
    with suppress(OSError), open(folder / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def cache_folder() -> Path:
    """$SPARSEFRONT_RUNS_CACHE, else the user's cache folder. It can be deleted at any time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SPARSEFRONT_RUNS_CACHE") or cache / "sparsefront" / "runs")


def local_copy(uri: str) -> Path:
    """What this machine keeps of the runs under a URI."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", uri)[:60]
    return cache_folder() / f"{readable}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
