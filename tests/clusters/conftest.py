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
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
START_S, STOP_S = 60.0, 45.0


@dataclass(frozen=True, kw_only=True)
class TokenCluster:
    """Address HOST:PORT, and the environment of a process that may join."""

    address: str
    token_path: Path
    environment: dict[str, str]


def loopback_environment(home: Path) -> dict[str, str]:
    """No RAY_AUTH_*, a home without a token, and Ray bound to 127.0.0.1 as on a Mac."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def token_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCluster]:
    """`ray start --head` with RAY_AUTH_MODE=token; ended by its process id."""
    folder = tmp_path_factory.mktemp("token-cluster")
    token_path = folder / "auth_token"
    token_path.write_text(secrets.token_hex(32))
    environment = loopback_environment(folder)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}
    address = f"127.0.0.1:{free_port()}"
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: it holds sockets
    start = [
        *RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        f"--port={address.rpartition(':')[2]}", "--num-cpus=2", "--include-dashboard=false",
        f"--temp-dir={session}",
    ]  # fmt: skip
    with open(folder / "head.log", "w") as log:
        head = subprocess.Popen(start, env={**environment, **secret}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while "Ray runtime started" not in (folder / "head.log").read_text():
            assert head.poll() is None and time.monotonic() < deadline, (
                folder / "head.log"
            ).read_text()
            time.sleep(0.2)
        yield TokenCluster(address=address, token_path=token_path, environment=environment)
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(STOP_S)
        shutil.rmtree(session, ignore_errors=True)
