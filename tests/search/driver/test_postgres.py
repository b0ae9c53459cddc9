"""A real PostgreSQL below Optuna and MLflow, as many drivers of a cluster would share it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from sparsefront.files.atomic import read_json
from sparsefront.search.cli.main import main
from sparsefront.search.config.space import Range
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.faults import check_complete, finished, runs_of, wait_for, workers

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not FOUND, reason="needs Debian's package postgresql"),
]
SPACE = {"camera": Range(low=0.0, high=0.9), "lidar": Range(low=0.0, high=0.9)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server of its own on loopback, with a database for Optuna and one for MLflow. PostgreSQL
    refuses to run as root.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sparsefront-postgres-"))
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self.port = free_port()
        self.uri = f"postgresql+psycopg://sweeps@127.0.0.1:{self.port}/optuna"
        self._run("initdb", "-D", self.folder / "data", "-U", "sweeps", "--auth=trust")
        self.start()
        for name in ("optuna", "mlflow"):  # one each: both keep a table `alembic_version`
            self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "sweeps", name)

    def start(self) -> None:
        where = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._control("-o", f"-p {self.port} {where}", "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def remove(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def _control(self, *words: object) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", *words)

    def _run(self, program: str, *words: object) -> None:
        command = [str(FOUND[-1].parent / program), *map(str, words)]
        subprocess.run(
            command, check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL
        )


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.remove()


@pytest.fixture
def database(server: Server) -> str:
    """URI of Optuna's."""
    return server.uri


def test_search_goes_on_from_its_database(database: str) -> None:
    """Requested and told by one optimizer, found again by the next; one study a name."""
    objectives = {"mAP": "max", "GFLOPs": "min"}
    first = Optimizer(SPACE, objectives, database, name="one")  # type: ignore[arg-type]
    for number in range(4):
        proposal = first.ask()
        assert proposal is not None
        values = {"mAP": 1 - float(proposal.values["camera"]), "GFLOPs": 5.0}  # type: ignore[arg-type]
        if number == 2:
            first.tell_failed(proposal.trial_id, "diverged")
        else:
            first.tell(proposal.trial_id, values)
    running = first.ask()
    assert running is not None

    again = Optimizer(SPACE, objectives, database, name="one")  # type: ignore[arg-type]
    assert again.num_finished() == 4
    assert again.reason(2) == "diverged"
    assert again.running() == [running]
    other = Optimizer(SPACE, objectives, database, name="two")  # type: ignore[arg-type]
    assert other.num_finished() == 0


def test_database_that_starts_again_is_waited_for(server: Server) -> None:
    """Connections that it dropped are made anew, and one that comes back is waited for."""
    optimizer = Optimizer(SPACE, {"mAP": "max", "GFLOPs": "min"}, server.uri)
    proposal = optimizer.ask()
    assert proposal is not None
    server.stop()
    later = threading.Timer(3, server.start)
    later.start()
    optimizer.tell(proposal.trial_id, {"mAP": 0.5, "GFLOPs": 5.0})
    later.join()
    assert optimizer.num_finished() == 1


@pytest.fixture
def mlflow_server(database: str, tmp_path: Path) -> Iterator[str]:
    """The command of clusters/README.md; its address."""
    uri, log = f"http://127.0.0.1:{free_port()}", tmp_path / "mlflow.log"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1",
        "--port", uri.rpartition(":")[2], "--artifacts-destination", str(tmp_path / "artifacts"),
        "--backend-store-uri", mlflow_database(database),
    ]  # fmt: skip
    with open(log, "wb") as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    try:
        wait_for(lambda: is_healthy(uri), 120, server, log)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def mlflow_database(database: str) -> str:
    return database.replace("postgresql+psycopg", "postgresql").replace("/optuna", "/mlflow")


def is_healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.timeout(600)
@pytest.mark.faults
def test_killed_sweep_resumes_from_its_database(
    start: Any, run: RunFolder, log: Path, database: str, mlflow_server: str
) -> None:
    """kill -9 of the driver in mid-sweep, then `resume`: every trial once, none left running, one
    front, all of it in PostgreSQL.
    """
    uris = {"storage": database, "tracking_uri": mlflow_server}
    driver = start(**uris, steps=40, trials=3, workers=1, halving=None)
    wait_for(run.finished, 250, driver, log)
    driver.kill()
    driver.wait()
    before = finished(run)
    assert before and len(run.finished()) < 3
    until(lambda: not workers(log.parent))  # Ray ends those of a killed driver

    assert main(["resume", run.name, "--runs", str(run.runs)]) == 0
    check_complete(run, before, mlflow_server)
    assert run.finished() == list(range(3))
    assert not run.journal.exists() and not (run.runs / "mlflow.db").exists()
    own = read_json(run.launch_file)["study"]
    assert own.startswith(f"{run.name}-") and optuna.get_all_study_names(database) == [own]
    assert len(runs_of(run.runs, mlflow_database(database))[1]) == 3


@pytest.mark.timeout(600)
@pytest.mark.faults
def test_lost_database_stops_the_driver_in_order(
    start: Any, run: RunFolder, log: Path, server: Server
) -> None:
    """The driver stops in order and says so in its last line; `resume` loses nothing."""
    driver = start(storage=server.uri, steps=40, trials=3, workers=1, halving=None)
    wait_for(run.finished, 250, driver, log)
    server.stop()
    assert driver.wait(timeout=200) == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith(f"sparsefront: storage: value '{server.uri}' fails: (psycopg")
    assert last.endswith("goes on with the sweep")
    assert "Traceback" not in log.read_text()
    before = finished(run)
    assert before
    until(lambda: not workers(log.parent))

    server.start()
    assert main(["resume", run.name, "--runs", str(run.runs)]) == 0
    check_complete(run, before)
    assert run.finished() == list(range(3))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
