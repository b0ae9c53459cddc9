"""An MLflow server that dies under a sweep: no trial waits for it, and nothing is missing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.faults import check_complete, finished, spawn, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(900)]


class Server:
    """`mlflow server` on loopback, over SQLite."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
            "--port", str(self._port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self._folder}/server.db",
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.3)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("comes_back", [True, False])
def test_sweep_goes_on_without_its_mlflow_server(
    start: Any, run: RunFolder, log: Path, server: Server, comes_back: bool, capsys: Any
) -> None:
    """Lost: nothing. Where the server stays dead, the sweep ends with status 1 and says how MLflow
    is completed.
    """
    driver = start(tracking_uri=server.uri, steps=20)
    wait_for(run.finished, 200, driver, log)
    before = finished(run)
    server.kill()
    wait_for(lambda: "the sweep goes on" in log.read_text(), 100, driver, log)
    if comes_back:
        started_before_the_end(server, driver)
        assert driver.wait(200) == 0, log.read_text()
        check_complete(run, before, server.uri)
        return
    assert driver.wait(200) == 1, log.read_text()
    assert finished(run).items() >= before.items()
    before = finished(run)
    assert main(["resume", "hurt", "--runs", str(run.runs)]) == 1  # nor does it refuse to go on
    assert "MLflow: " in (said := capsys.readouterr().err) and "; the sweep goes on" in said
    assert f"`sparsefront resume hurt --runs {run.runs}` logs what it missed" in said
    last = log.read_text().splitlines()[-1]
    assert last.startswith("sparsefront: the sweep is complete, but MLflow at http://127.0.0.1:")
    assert last.endswith(f"`sparsefront resume hurt --runs {run.runs}` logs what it missed")
    assert "Traceback" not in log.read_text()
    server.start()
    assert main(["resume", "hurt", "--runs", str(run.runs)]) == 0
    check_complete(run, before, server.uri)


def test_sweep_resumed_before_its_server_catches_up(
    start: Any, run: RunFolder, log: Path, server: Server
) -> None:
    """Driver and server die; the driver goes on first, and opens MLflow's records once it can."""
    driver = start(tracking_uri=server.uri, steps=20)
    wait_for(run.finished, 200, driver, log)
    driver.kill()
    driver.wait()
    server.kill()
    before = finished(run)
    resumed = spawn("resume", "hurt", "--runs", run.runs, cwd=log.parent)
    try:
        wait_for(lambda: "the sweep goes on" in log.read_text(), 100, resumed, log)
        started_before_the_end(server, resumed)
        assert resumed.wait(200) == 0, log.read_text()
    finally:
        resumed.kill()
    check_complete(run, before, server.uri)


def started_before_the_end(server: Server, driver: subprocess.Popen[bytes]) -> None:
    """The driver waits: it would be through before a slow machine's server is up."""
    driver.send_signal(signal.SIGSTOP)
    server.start()
    driver.send_signal(signal.SIGCONT)
