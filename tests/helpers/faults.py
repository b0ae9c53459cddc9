"""Sweeps as processes that can be hurt, and what must hold of each when it is complete again.

Shared by tests/search/driver/test_faults.py, its neighbours and the soak.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import optuna

from sparsefront.files.atomic import read_json
from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.config.strict_yaml import expand
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.optimizer.ask_and_tell import DUPLICATE
from sparsefront.search.runs.front import load_front
from sparsefront.search.runs.run_folder import RunFolder, has_ended
from tests.helpers import paths

MARK = "SPARSEFRONT_TEST_MARK"
ENDINGS = {"result": "COMPLETE", "stopped": "PRUNED", "failure": "FAIL"}
IN_MLFLOW = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}

Finished = dict[Path, tuple[int, bytes]]
Results = dict[int, list[dict[str, Any]]]
"""Trial id -> what it measured at its rungs."""
T = TypeVar("T")


def spawn(*argv: object, cwd: Path, prefix: tuple[str, ...] = (), **environment: str) -> Any:
    """The command-line program in a process of its own, which says what it says in driver.log; its
    workers carry `cwd` as their mark.
    """
    own = {**os.environ, "PYTHONPATH": str(paths.CHECKOUT), MARK: str(cwd), "OMP_NUM_THREADS": "1"}
    command = [*prefix, sys.executable, "-m", "sparsefront.search.cli.main", *map(str, argv)]
    with open(cwd / "driver.log", "ab") as log:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**own, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_for(
    condition: Callable[[], T], seconds: float, process: subprocess.Popen[bytes], log: Path
) -> T:
    """What the condition gives once it holds. AssertionError with the log where the process ends
    first, or time runs out.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, f"ended with {process.returncode}\n{log.read_text()}"
        assert time.monotonic() < deadline, f"not within {seconds} s\n{log.read_text()}"
        time.sleep(0.05)
    return found


def workers(mark: Path | str) -> list[int]:
    """Processes of trial actors whose driver was started with this mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes()
            if ours and b"ResourceTrainable" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill_workers(mark: Path | str) -> int:
    """kill -9 of all of them; how many there were."""
    killed = workers(mark)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return len(killed)


def runs_of(out: Path, tracking_uri: str | None = None) -> tuple[list[Any], list[Any]]:
    """Parents and children in MLflow; None: the store beside the sweeps."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri or f"sqlite:///{out.absolute()}/mlflow.db")
    found: list[Any] = []
    token = None
    everywhere = [e.experiment_id for e in client.search_experiments()]
    while token or not found:
        page = client.search_runs(everywhere, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            break
    children = [r for r in found if "mlflow.parentRunId" in r.data.tags]
    return [r for r in found if r not in children], children


def finished(run: RunFolder) -> Finished:
    """Every file of every finished trial: its time of change and its bytes."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for number in run.finished()
        for path in sorted(run.trial_dir(number).iterdir())
    }


def under_way(run: RunFolder) -> Results:
    """Trial under way -> the intermediate results that its checkpoint holds."""
    found = {}
    for file in run.trials.glob("*/checkpoint.json"):
        if has_ended(file.parent):  # stopped, and not yet tidied up
            continue
        try:
            found[int(file.parent.name)] = json.loads(file.read_text())["intermediate_results"]
        except OSError:  # it has just ended
            continue
    return found


def in_mid_trial(run: RunFolder) -> Results:
    """The trials under way, once one is finished and another one has passed two rungs; else {}."""
    found = under_way(run)
    return found if run.finished() and any(len(s) == 2 for s in found.values()) else {}


def check_went_on(run: RunFolder, halfway: Results) -> None:
    """AssertionError unless each trial that was under way has kept those results: with the seconds
    that they took, to the microsecond, so no trial that started again from its beginning would do.
    """
    assert halfway
    for number, seen in halfway.items():
        kept = results_before_the_end(run, number)
        assert kept[: len(seen)] == seen, f"trial {number} started again"
        steps = [result["steps"] for result in kept]
        assert steps == sorted(set(steps)), f"trial {number}: results after {steps} steps"


def results_before_the_end(run: RunFolder, number: int) -> list[dict[str, Any]]:
    """Of a trial that finished or was stopped, those below full fidelity."""
    folder = run.trial_dir(number)
    (file,) = (f for name in ("result", "stopped") if (f := folder / f"{name}.json").exists())
    found: list[dict[str, Any]] = json.loads(file.read_text())["intermediate_results"]
    return found


def check_complete(run: RunFolder, before: Finished, tracking_uri: str | None = None) -> None:
    """AssertionError unless the sweep is complete, nothing that was finished `before` has changed,
    and folder, Optuna's storage, MLflow and the front tell the same.
    """
    sweep = read_sweep(run.sweep_file)
    named = read_json(run.launch_file)["study"] or sweep.name
    study = optuna.load_study(study_name=named, storage=expand(sweep.storage) or _journal(run))
    trials = [t for t in study.get_trials(deepcopy=False) if DUPLICATE not in t.user_attrs]
    states = {t.number: t.state.name for t in trials if t.state.name != "WAITING"}
    assert Counter(states.values())["RUNNING"] == 0
    assert sum(t.state.is_finished() and not t.user_attrs.get("free") for t in trials) == (
        sweep.trials
    )
    for number, state in states.items():
        folder = run.trial_dir(number)
        ended = [ENDINGS[name] for name in ENDINGS if (folder / f"{name}.json").is_file()]
        assert ended == [state], f"trial {number}: {ended} in its folder, {state} in Optuna"
        left = [p.name for p in folder.iterdir() if p.name.startswith((".", "checkpoint"))]
        assert not left, f"trial {number}: left {left}"
    for path, kept in before.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == kept, f"{path} has changed"

    parents, children = runs_of(run.runs, tracking_uri)
    assert [p.info.status for p in parents] == ["FINISHED"]
    logged = [(int(c.data.tags["sparsefront.trial"]), c.info.status) for c in children]
    assert sorted(logged) == sorted((n, IN_MLFLOW[state]) for n, state in states.items())

    front = load_front(run.name, run.runs)
    ours = {
        p.trial_id: [OBJECTIVES[name].function(p.result) for name in sweep.objectives]
        for p in front.points
    }
    assert ours == {t.number: t.values for t in study.best_trials}


def _journal(run: RunFolder) -> optuna.storages.JournalStorage:
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = str(run.journal)
    return optuna.storages.JournalStorage(
        JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
    )


def halved(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """A sweep file's data with rungs before any training and after 4 of 8 steps, and objectives
    that trade off even where the model has learned nothing.
    """
    trial = {**sweep["trial"], "fine_tune": {**sweep["trial"]["fine_tune"], "steps": 8}}
    space = {name: {"low": 0.2, "high": 0.9} for name in sweep["space"]}
    return {
        **sweep, "trial": trial, "space": space, "objectives": ["mAP", "GFLOPs", "nonzeros"],
        "first": [], "trials": 6, "workers": 2,
        "halving": {"rungs": [{"steps": 0}, {"steps": 4}], "reduction": 3, "safe": 99},
    }  # fmt: skip
