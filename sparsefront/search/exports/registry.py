"""Exports as versions of registered models in MLflow, and back by alias."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sparsefront.errors import ExecutionError, InputError
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.exports.pruned import read_manifest
from sparsefront.search.reports.mlflow_store import (
    EXPERIMENT,
    SWEEP,
    client_of,
    error_text,
    experiment_of,
    tracking_uri_of,
)
from sparsefront.search.runs.run_folder import SQLITE, RunFolder, run_folder

ALIAS = re.compile(r"(?!latest$|v\d+$)[\w-]+", re.IGNORECASE)
SCHEME = "models:/"
FOLDER = "export"


def check_names(name: str, alias: str) -> None:
    """InputError for names that MLflow does not take."""
    if not name.strip() or re.search(r"[/:@.\s]", name):
        raise InputError(
            f"--register: value {name!r}; allowed: a name without / : @ . and white space"
        )
    if not ALIAS.fullmatch(alias):
        raise InputError(
            f"--alias: value {alias!r}; allowed: letters, digits, _ and -, not latest, v1, v2 ..."
        )


def register(folder: Path, sweep: str, runs: str | Path, name: str, alias: str) -> str:
    """Logs an exported folder to the sweep's MLflow, makes it the next version of the registered
    model and moves the alias there; says how to fetch it. ExecutionError where MLflow does not
    answer.
    """
    manifest = read_manifest(folder)
    run = run_folder(runs, sweep)
    uri = _tracking_uri(run)
    client, error_type = _client(uri)
    try:
        version = _version(client, folder, manifest, run, name)
        client.set_registered_model_alias(name, alias, version)
    except (error_type, OSError) as error:
        raise ExecutionError(
            f"{folder} is complete, but MLflow at {mask_passwords(uri)} did not register it: "
            f"{error_text(error)}"
        ) from error
    elsewhere = uri != default_uri(runs)
    before = f"MLFLOW_TRACKING_URI={mask_passwords(uri)} " if elsewhere else ""
    after = "" if str(runs) == "runs" or elsewhere else f" --runs {runs}"
    return (
        f"registered as version {version} of {name}\n"
        f"fetch   {before}sparsefront evaluate {SCHEME}{name}@{alias}{after}"
    )


@contextmanager
def fetch_export(uri: str, runs: str | Path) -> Iterator[Path]:
    """The exported folder of models:/NAME@ALIAS or models:/NAME/VERSION, for as long as it is open.
    InputError where there is no such version.
    """
    tracking = os.environ.get("MLFLOW_TRACKING_URI") or default_uri(runs)
    database = Path(tracking.removeprefix(SQLITE))
    if tracking.startswith(SQLITE) and not database.is_file():
        raise InputError(
            f"{uri}: no MLflow database {database}; allowed: --runs FOLDER of the sweep, or its "
            "server in MLFLOW_TRACKING_URI"
        )
    client, error_type = _client(tracking)
    with TemporaryDirectory() as place:
        try:
            found = _find(client, uri, error_type)
            client.download_artifacts(found.run_id, FOLDER, place)
        except (error_type, OSError) as error:
            raise ExecutionError(
                f"{uri}: MLflow at {mask_passwords(tracking)}: {error_text(error)}"
            ) from error
        yield Path(place) / FOLDER


def default_uri(runs: str | Path) -> str:
    """The database that sweeps under RUNS log to, where nobody says otherwise."""
    return run_folder(runs, "").mlflow_database


def _tracking_uri(run: RunFolder) -> str:
    return tracking_uri_of(run) or default_uri(run.runs_uri)


def _client(uri: str) -> tuple[Any, type[Exception]]:
    client = client_of(uri)
    from mlflow.exceptions import MlflowException

    return client, MlflowException


def _version(client: Any, folder: Path, manifest: dict[str, Any], run: RunFolder, name: str) -> str:
    """A run of its own holds the files; a trial's own run belongs to the sweep."""
    tags = {SWEEP: run.name, "sparsefront.exported_trial": str(manifest["trial"])}
    made = client.create_run(
        experiment_of(client, EXPERIMENT, run.mlflow_root.absolute() / "mlflow-artifacts"),
        tags=tags,
        run_name=f"{run.name}-{manifest['trial']}-export",
    )
    number = made.info.run_id
    for metric, value in manifest["metrics"].items():
        client.log_metric(number, metric, value)
    client.log_artifacts(number, str(folder), FOLDER)
    client.set_terminated(number)
    if not any(model.name == name for model in _models(client, name)):
        client.create_registered_model(name)
    source = f"{made.info.artifact_uri}/{FOLDER}"
    found = client.create_model_version(
        name, source, run_id=number, tags=tags,
        description=f"sweep {run.name}, trial {manifest['trial']}, picked by {manifest['pick']}",
    )  # fmt: skip
    return str(found.version)


def _find(client: Any, uri: str, error_type: type[Exception]) -> Any:
    name, alias, version = _parts(uri)
    models = _models(client, name)
    if not models:
        known = ", ".join(m.name for m in client.search_registered_models()) or "none"
        raise InputError(f"{uri}: no registered model {name!r}; registered: {known}")
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, version)
    except error_type as error:
        aliases = ", ".join(f"{a} (version {v})" for a, v in models[0].aliases.items()) or "none"
        raise InputError(f"{uri}: no such version; aliases of {name!r}: {aliases}") from error


def _models(client: Any, name: str) -> list[Any]:
    return list(client.search_registered_models(f"name = '{name}'"))


def _parts(uri: str) -> tuple[str, str, str]:
    found = re.fullmatch(rf"{SCHEME}([^/@]+)(?:@([\w-]+)|/(\d+))", uri)
    if found is None:
        raise InputError(f"{uri}: allowed: {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION")
    return found[1], found[2] or "", found[3] or ""
