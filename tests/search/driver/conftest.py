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
        verb = ("sweep", write_yaml(data), "--name", run.name, "--runs", run.runs)
        started.append(spawn(*verb, *options, cwd=tmp_path, prefix=prefix, **environment))
        return started[-1]

    yield start
    for driver in started:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
    kill_workers(tmp_path)
