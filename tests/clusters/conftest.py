"""A real Ray cluster with a token, on loopback only, as `ray start` makes it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import paths

RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
START_S, STOP_S = 120.0, 45.0


@dataclass(frozen=True, kw_only=True)
class TokenCluster:
    """Address HOST:PORT, of the dashboard http://HOST:PORT where there is one, and the environment
    of a process that may join.
    """

    address: str
    dashboard: str | None
    token_path: Path
    environment: dict[str, str]


def loopback_environment(home: Path) -> dict[str, str]:
    """No RAY_AUTH_*, a home without a token, and Ray bound to 127.0.0.1 as on a Mac."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(paths.CHECKOUT),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",  # as in the image
        "RAY_worker_niceness": "0",  # 15 by default: beside other work on the machine they starve
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def token_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCluster]:
    with started(tmp_path_factory.mktemp("token-cluster")) as cluster:
        yield cluster


@pytest.fixture
def job_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCluster]:
    """The same with a dashboard, which takes jobs."""
    with started(tmp_path_factory.mktemp("job-cluster"), with_dashboard=True) as cluster:
        yield cluster


@contextmanager
def started(folder: Path, with_dashboard: bool = False) -> Iterator[TokenCluster]:
    """`ray start --head` with RAY_AUTH_MODE=token; ended by its process id."""
    token_path = folder / "auth_token"
    token_path.write_text(secrets.token_hex(32))
    environment = loopback_environment(folder)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}
    address, dashboard = f"127.0.0.1:{free_port()}", None
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: it holds sockets
    start = [
        *RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        f"--port={address.rpartition(':')[2]}", "--num-cpus=2", f"--temp-dir={session}",
        f"--include-dashboard={str(with_dashboard).lower()}",
    ]  # fmt: skip
    if with_dashboard:  # at ports of its own, as other Rays on this machine have the usual ones
        port = free_port()
        dashboard = f"http://127.0.0.1:{port}"
        start += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
        start += [f"--dashboard-agent-listen-port={free_port()}"]
    with open(folder / "head.log", "w") as log:
        head = subprocess.Popen(start, env={**environment, **secret}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while "Ray runtime started" not in (folder / "head.log").read_text():
            assert head.poll() is None and time.monotonic() < deadline, (
                folder / "head.log"
            ).read_text()
            time.sleep(0.2)
        yield TokenCluster(
            address=address, dashboard=dashboard, token_path=token_path, environment=environment
        )
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(STOP_S)
        shutil.rmtree(session, ignore_errors=True)
