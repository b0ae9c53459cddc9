"""Optuna's storage in a real PostgreSQL, as many drivers of a cluster would share it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.optimizer import Failure, Optimizer
from search.space import Range

pytest.importorskip("psycopg", reason="needs the extra `cluster`")
FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not FOUND, reason="needs Debian's package postgresql"),
]
SPACE = {"camera": Range(low=0.0, high=0.9), "lidar": Range(low=0.0, high=0.9)}


@pytest.fixture
def database() -> Iterator[str]:
    """A server of its own on loopback; PostgreSQL refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="sparsefront-postgres-"))
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bin_folder, data = FOUND[-1].parent, folder / "data"

    def run(*command: object) -> None:
        subprocess.run(list(map(str, command)), check=True, user=user, cwd=folder,
                       stdout=subprocess.DEVNULL)  # fmt: skip

    run(FOUND[-1], "-D", data, "-U", "sweeps", "--auth=trust")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = bin_folder / "pg_ctl"
    run(control, "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg://sweeps@127.0.0.1:{port}/postgres"
    finally:
        run(control, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_a_search_goes_on_from_it(database: str) -> None:
    """Asked and told by one optimizer, found again by the next; one study a name."""
    objectives = {"mAP": "max", "GFLOPs": "min"}
    first = Optimizer(SPACE, objectives, database, name="one")  # type: ignore[arg-type]
    for number in range(4):
        asked = first.ask()
        assert asked is not None
        values = {"mAP": 1 - float(asked.values["camera"]), "GFLOPs": 5.0}  # type: ignore[arg-type]
        first.tell(asked.trial_id, Failure("diverged") if number == 2 else values)
    running = first.ask()
    assert running is not None

    again = Optimizer(SPACE, objectives, database, name="one")  # type: ignore[arg-type]
    assert again.told() == 4
    assert again.reason(2) == "diverged"
    assert again.running() == [running]
    other = Optimizer(SPACE, objectives, database, name="two")  # type: ignore[arg-type]
    assert other.told() == 0
