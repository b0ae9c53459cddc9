"""A sweep with rungs that the tests of faults start as a process and hurt."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.faults import halved, kill_workers, spawn
from tests.helpers.tiny_sweep import tiny_sweep


@pytest.fixture(scope="session")
def exported_run(
    tiny_root: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A sweep `one` with trial 0 finished, trial 1 failed and trial 2 stopped; only to be read."""
    import yaml

    from sparsefront.files.atomic import write_json
    from sparsefront.search.config.sweep_file import read_sweep
    from sparsefront.search.config.trial_result import Stop
    from sparsefront.search.runs.trial_writer import write_end, write_trial
    from sparsefront.search.trial.run_trial import run_trial

    run = RunFolder(runs=tmp_path_factory.mktemp("exported"), name="one")
    run.path.mkdir()
    run.sweep_file.write_text(yaml.safe_dump(tiny_sweep(tiny_root, tiny_checkpoint)))
    write_json(
        run.launch_file,
        {
            "run_id": "x", "address": None, "code": {"commit": "0" * 40, "dirty": True},
            "tracking_uri": f"sqlite:///{run.runs / 'mlflow.db'}",
        },
    )  # fmt: skip
    spec = read_sweep(run.sweep_file).trial
    write_trial(run, 0, run_trial(spec))
    write_end(run, TrialEnd.failed(1, "ValueError: nothing left"), spec)
    write_stopped(run, 2, spec, Stop(reason="dominated", costs={}, looks=[]))
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(runs=tmp_path / "kept", name="hurt")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the driver says."""
    return tmp_path / "driver.log"


@pytest.fixture
def start(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, run: RunFolder
) -> Iterator[Any]:
    """Starts the sweep, with fields replaced, as a process; killed with its workers at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *options: str,
        steps: int = 8,
        prefix: tuple[str, ...] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
        **fields: Any,
    ) -> subprocess.Popen[bytes]:
        data = {**halved(sweep_data), **fields}
        data["trial"]["fine_tune"]["steps"] = steps
        verb = ("sweep", write_yaml(data), "--name", run.name, "--out", run.runs)
        started.append(spawn(*verb, *options, cwd=tmp_path, prefix=prefix, **environment))
        return started[-1]

    yield start
    for driver in started:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
    kill_workers(tmp_path)
