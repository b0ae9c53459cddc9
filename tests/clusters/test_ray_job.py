"""`ray job submit`, as clusters/image/README.md has it, to a real head on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers import paths
from tests.helpers.faults import check_complete, runs_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("grpc") is None, reason="needs the extra `cluster`: ray[default]"),
]
LAUNCH = paths.CHECKOUT / "clusters" / "launch.sh"
RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")


def test_stopped_job_is_resumed_by_the_next_one(
    job_cluster: Any, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """The second job goes on with the sweep; what the first one finished stays as it is."""
    sweep_data["trial"]["fine_tune"]["steps"] = 60
    file, runs = write_yaml({**sweep_data, "trials": 3}), tmp_path / "runs"
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(job_cluster.token_path)}

    def job(verb: str, *words: object) -> str:
        command = [*RAY, "job", verb, "--address", job_cluster.dashboard, *map(str, words)]
        done = subprocess.run(
            command, env={**job_cluster.environment, **secret}, cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def submit(name: str) -> None:
        launch = ("bash", LAUNCH, file, "tiny", runs)
        job("submit", "--submission-id", name, "--no-wait", "--", *launch)

    def finished() -> dict[Path, tuple[int, bytes]]:
        results = sorted((runs / "tiny" / "trials").glob("*/result.json"))
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results}

    submit("tiny-1")
    until(finished, 250, lambda: job("logs", "tiny-1"))
    job("stop", "tiny-1")
    before = finished()
    assert "was stopped" in job("status", "tiny-1")
    assert 1 <= len(before) < 3
    assert f"sparsefront resume tiny --runs {runs}" in job("logs", "tiny-1")  # it ended in order
    assert [parent.info.status for parent in runs_of(runs)[0]] == ["KILLED"]

    submit("tiny-2")
    assert "hypervolume" in job("logs", "--follow", "tiny-2")
    assert "succeeded" in job("status", "tiny-2")
    after = finished()
    assert len(after) == 3
    assert {path: after[path] for path in before} == before
    check_complete(RunFolder(runs=runs, name="tiny"), {})


def until(condition: Callable[[], Any], seconds: float, log: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log()
        time.sleep(0.1)
