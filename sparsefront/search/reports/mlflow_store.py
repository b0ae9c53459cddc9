"""The MLflow store behind a tracking URI: its client, its database, runs found by their tags."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparsefront.errors import one_line
from sparsefront.files.atomic import read_json
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.runs.interrupts import defer_signals
from sparsefront.search.runs.run_folder import SQLITE, RunFolder

EXPERIMENT = "sparsefront"
SWEEP = "sparsefront.sweep"
"""Tag of every run of a sweep: its name."""
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, where there is a server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own 7 would hold up the sweep for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class WholeCalls:
    """An MlflowClient each of whose calls is done to its end before a signal is heard."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*given: Any, **named: Any) -> Any:
            with defer_signals():
                return method(*given, **named)

        return call


def client_of(tracking_uri: str) -> Any:
    """An MlflowClient that is quiet, gives up soon, and is not interrupted in the middle of a
    write to SQLite, whose locks would outlive it; such a database is made where missing.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    if tracking_uri.startswith(SQLITE):
        make_database(Path(tracking_uri.removeprefix(SQLITE)))
    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    return WholeCalls(client) if tracking_uri.startswith(SQLITE) else client


def failures() -> tuple[type[Exception], ...]:
    """What calls to MLflow raise where it does not answer."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, OSError)


def tracking_uri_of(run: RunFolder) -> str | None:
    """Of a sweep: as its file says, with $VARIABLES expanded, else as it was launched; None where
    nobody said.
    """
    for read, file in ((strict_yaml.read_yaml, run.sweep_file), (read_json, run.launch_file)):
        if file.is_file() and (uri := read(file).get("tracking_uri")):
            return str(uri)
    return None


def make_database(path: Path) -> None:
    """An MLflow database at `path`, unless there is one: made under another name, then linked, as
    MLflow cannot open a database whose making was cut short.
    """
    from mlflow import MlflowClient

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        if not Path("/proc", left.suffix[1:]).exists():  # its maker was killed
            left.unlink()
    made = path.with_name(f".{path.name}.{os.getpid()}")
    MlflowClient(tracking_uri=f"{SQLITE}{made}").search_experiments()
    with suppress(FileExistsError):  # another driver was first
        os.link(made, path)
    made.unlink()


def experiment_of(client: Any, name: str, artifacts: Path | None) -> str:
    """The id of the experiment, made where missing; artifacts: a folder for them, None: the
    server's own place.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if artifacts is None else artifacts.as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def runs_where(client: Any, experiment_id: str, text: str) -> list[Any]:
    """All runs of the experiment that MLflow's filter finds, page by page."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], text, max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def error_text(error: BaseException) -> str:
    """An error in one line of 200 characters at most, without passwords."""
    return mask_passwords(one_line(error))[:200]
