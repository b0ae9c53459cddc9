"""MLflow's page of a sweep: a server on loopback for as long as somebody looks at it."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsefront.errors import ExecutionError, InputError
from sparsefront.files.atomic import read_json
from sparsefront.search.reports.mlflow_store import tracking_uri_of
from sparsefront.search.runs.run_folder import SQLITE, RunFolder

HOST = "127.0.0.1"
PAGE = re.compile(r"#/experiments/[^/\s?]+/runs/\w+")
TRAINING = "?workflowType=machine_learning"  # else MLflow shows it as an evaluation of prompts
STARTS_WITHIN_S, ENDS_WITHIN_S = 120.0, 10.0
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # processes that nobody here needs
}
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class MlflowPage:
    """The database or server that has a sweep, and the end of its page's address there."""

    tracking_uri: str
    page: str

    @property
    def has_server(self) -> bool:
        """Whether a server that is running has it already."""
        return self.tracking_uri.startswith("http")


def mlflow_page(run: RunFolder) -> MlflowPage:
    """InputError in one line where nothing was recorded yet, or the database is gone."""
    run.require()
    if not (run.launch_file.is_file() and run.mlflow_file.is_file()):
        raise InputError(f"ui: sweep {run.name!r} has no MLflow page yet; allowed: once it has run")
    found = PAGE.search(str(read_json(run.mlflow_file).get("mlflow", "")))
    if found is None:
        raise InputError(
            f"ui: {run.mlflow_file} names no page; `sparsefront resume` writes it anew"
        )
    return MlflowPage(
        tracking_uri=_database(tracking_uri_of(run) or run.mlflow_database, run),
        page=found.group() + TRAINING,
    )


def free_port(wanted: int | None) -> int:
    """A free port of loopback; InputError where the wanted one is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--port: value {wanted} cannot be used ({error}); allowed: a free port, 1024 to "
                "65535, or none, and one is found"
            ) from None
        return int(probe.getsockname()[1])


@contextmanager
def serve(page: MlflowPage, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server, ready; it and whatever it started has ended when this ends.
    ExecutionError in one line where it does not come up.
    """
    with tempfile.TemporaryFile() as log:
        process = _start(page, port, log)
        try:
            _wait_until_ready(process, port, log)
            yield process
        finally:
            _end(process)


def _database(uri: str, run: RunFolder) -> str:
    """The sweep's database, or the one beside it where the whole folder was moved."""
    if not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).is_file():
        return uri
    moved = run.mlflow_database
    if Path(moved.removeprefix(SQLITE)).is_file():
        return moved
    raise InputError(
        f"ui: MLflow's database {uri.removeprefix(SQLITE)} is gone; allowed: where it was, or "
        f"{moved.removeprefix(SQLITE)}"
    )


def _start(page: MlflowPage, port: int, log: Any) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", page.tracking_uri,
        "--host", HOST, "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    return subprocess.Popen(
        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT}, cwd=tempfile.gettempdir(),
        start_new_session=True, preexec_fn=_end_with_parent,
    )  # fmt: skip


def _end_with_parent() -> None:
    """On Linux the server is told to end when its parent is killed without a chance to say so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Any) -> None:
    ending = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ending:
        if process.poll() is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise ExecutionError(f"MLflow's server ended at once: {lines[-1].strip()}")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ExecutionError(
        f"MLflow's server did not answer on port {port} within {STARTS_WITHIN_S:.0f} s"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole process group: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if _gone(process):
            break
    process.wait()


def _gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether nobody of its group is left, in time."""
    ending = time.monotonic() + ENDS_WITHIN_S
    while time.monotonic() < ending:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
