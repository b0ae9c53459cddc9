"""clusters/launch.sh: which verb it comes to, with the real command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import paths

pytestmark = pytest.mark.long
NOBODY = "127.0.0.1:9"
"""No cluster: `sweep` and `resume` both end there, after they have found their sweep."""
SPARSEFRONT = f"""#!/usr/bin/env bash
echo "$1" >> "$VERBS"
exec {sys.executable} -m sparsefront.search.cli.main "$@"
"""


@pytest.fixture
def launch(sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path) -> Any:
    """launch.sh for a sweep `one` under RUNS; what it ended with and the verbs it called."""
    program = tmp_path / "bin" / "sparsefront"
    program.parent.mkdir()
    program.write_text(SPARSEFRONT)
    program.chmod(0o755)
    verbs = tmp_path / "verbs"
    file = write_yaml(sweep_data)

    def run(
        runs: str | Path, **variables: str
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        environment = {
            **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "VERBS": str(verbs),
            "PYTHONPATH": str(paths.CHECKOUT), "SPARSEFRONT_RUNS_CACHE": str(tmp_path / "cache"),
            **variables,
        }  # fmt: skip
        done = subprocess.run(
            [paths.CHECKOUT / "clusters" / "launch.sh", file, "one", runs, NOBODY], env=environment,
            cwd=tmp_path, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        return done, verbs.read_text().split()

    return run


@pytest.fixture
def runs_with_a_sweep(sweep_data: dict[str, Any], tmp_path: Path) -> Path:
    """The folder of all runs, with a sweep `one` none of whose trials has ended."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**sweep_data, "name": "one"}))
    records = f"sqlite:///{folder.parent}/mlflow.db"
    launch = {"run_id": "x", "address": None, "tracking_uri": records}
    (folder / "launch.json").write_text(json.dumps(launch))
    return folder.parent


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """An address where nothing answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_launch_starts_a_sweep_that_is_not_there(launch: Any, tmp_path: Path, scheme: str) -> None:
    done, verbs = launch(f"{scheme}{tmp_path}/runs/")
    assert verbs[-1] == "sweep" and "resume" not in verbs
    assert done.returncode == 2 and "--address" in done.stderr


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_launch_resumes_a_sweep_that_is_there(
    launch: Any, runs_with_a_sweep: Path, scheme: str
) -> None:
    """Also where no trial has ended yet."""
    done, verbs = launch(f"{scheme}{runs_with_a_sweep}")
    assert verbs[-1] == "resume" and "sweep" not in verbs
    assert done.returncode == 2 and "--address" in done.stderr


def test_launch_starts_nothing_where_the_storage_fails(launch: Any, dead_endpoint: str) -> None:
    """Is not taken for one without the sweep: no second one is started."""
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    done, verbs = launch("s3://bucket/runs", AWS_ENDPOINT_URL=dead_endpoint, **keys)
    assert verbs == ["front"]
    assert done.returncode == 2
    assert "s3://bucket/runs" in done.stderr and "cannot be read" in done.stderr


def test_launch_starts_nothing_where_the_sweep_cannot_be_read(
    launch: Any, runs_with_a_sweep: Path
) -> None:
    (runs_with_a_sweep / "one" / "sweep.yaml").write_text("name: [")
    done, verbs = launch(f"file://{runs_with_a_sweep}")
    assert verbs == ["front"]
    assert done.returncode == 2 and "sweep.yaml" in done.stderr
