"""MLflow: one parent run a sweep, one child a trial, the front on the parent.

Only the driver writes. A child appears when its trial has ended, so a killed driver leaves none
running; what it missed is logged from the run folder by `reconcile`. A server that does not answer
never holds up the sweep: what it missed is logged when it is back, or by `sparsefront resume`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sparsefront.errors import ExecutionError, InputError
from sparsefront.files.atomic import read_json, write_json
from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.config.programs import program
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.reports.child_run import ChildRun, failed_run, finished_run, stopped_run
from sparsefront.search.reports.mlflow_store import (
    EXPERIMENT,
    SWEEP,
    client_of,
    error_text,
    experiment_of,
    failures,
    runs_where,
)
from sparsefront.search.reports.parent_run import log_all, log_front
from sparsefront.search.runs.allocation_file import allocation_document
from sparsefront.search.runs.front import ParetoFront
from sparsefront.search.runs.run_folder import SQLITE, RunFolder
from sparsefront.search.runs.trial_reader import StoredTrial, read_end, read_spec, read_trial

TRIAL, ON_FRONT, REASON = (f"sparsefront.{t}" for t in ("trial", "front", "reason"))
PARENT = "mlflow.parentRunId"
METRICS_A_CALL = 1000  # MLflow takes no more in one batch
RETRY_S = 20.0
UNFINISHED = "attributes.status = 'RUNNING'"


class MlflowLogger:
    """The MLflow side of one sweep; safe to open again after a crash."""

    def __init__(self, sweep: Sweep, run: RunFolder, run_id: str, tracking_uri: str) -> None:
        """InputError where nothing answers at the URI; a sweep whose records are there already
        goes on without them.
        """
        self.tracking_uri = tracking_uri
        self._sweep, self._run, self._run_id = sweep, run, run_id
        self._client = client_of(tracking_uri)  # before any other import of MLflow
        self.experiment_id = self.parent_id = ""
        self._code = _commit(run)
        self._children: dict[int, str] = {}
        self._volumes: list[tuple[float, int]] = []
        self._optimizer: Optimizer | None = None
        self._behind_since: float | None = None
        try:
            self._open()
        except failures() as error:
            if not run.mlflow_file.is_file():
                raise InputError(
                    f"tracking_uri: value {mask_passwords(tracking_uri)!r}: {error_text(error)}; "
                    "allowed: a server that answers, or a database"
                ) from error
            self._falls_behind(error)

    def _open(self) -> None:
        """The experiment and the parent run."""
        local = self.tracking_uri.startswith(SQLITE)
        self.experiment_id = experiment_of(
            self._client, EXPERIMENT, self._run.mlflow_root / "mlflow-artifacts" if local else None
        )
        self.parent_id = self._parent(self._run_id)
        write_json(self._run.mlflow_file, {"mlflow": self.page()})
        self._run.push(self._run.mlflow_file)

    def page(self) -> str:
        """How to look at the parent run: its page, and the server to start where none runs."""
        page = (
            f"#/experiments/{self.experiment_id}/runs/{self.parent_id}"
            "?workflowType=machine_learning"
        )
        uri = mask_passwords(self.tracking_uri)
        if uri.startswith("http"):
            return f"{uri}/{page}"
        start = f"{program('mlflow')} ui --backend-store-uri {uri}"
        return f"{start}\n        then http://127.0.0.1:5000/{page}"

    def reconcile(self, optimizer: Optimizer) -> None:
        """Makes MLflow agree with the run folder: nothing missing, nothing twice or half."""
        self._optimizer = optimizer
        if not self.parent_id:
            self._open()
        self._children = {}
        for child in self._runs(f"tags.`{PARENT}` = '{self.parent_id}'"):
            number = int(child.data.tags[TRIAL])
            if child.info.status == "RUNNING" or number in self._children:
                self._client.delete_run(child.info.run_id)
            else:
                self._children[number] = child.info.run_id
        for trial_id, state in optimizer.states().items():
            if trial_id in self._children:
                continue
            values = optimizer.values(trial_id) if state != "WAITING" else {}
            end = read_end(self._run, trial_id)
            if end is None and state == "FAIL":
                reason = optimizer.reason(trial_id) or "no reason recorded"
                end = TrialEnd.failed(trial_id, reason)
            if end is not None:
                self._log_end(end, values)

    def catch_up(self, optimizer: Optimizer) -> None:
        """Makes MLflow agree now, or as soon as it answers."""
        self._optimizer = optimizer
        self._attempt(lambda: self.reconcile(optimizer))

    def log_end(self, end: TrialEnd, values: Mapping[str, Any]) -> None:
        """A trial that finished, was stopped or failed; `values` of the searched fields."""
        self._attempt(lambda: self._log_end(end, values))

    def _log_end(self, end: TrialEnd, values: Mapping[str, Any]) -> None:
        if end.trial_id in self._children:  # what was missed had it already: its worker was done
            return
        if end.status == "finished":
            trial = read_trial(self._run, end.trial_id)
            return self._write(finished_run(trial, values), trial)
        spec = read_spec(self._run, end.trial_id)
        of_end = stopped_run if end.status == "stopped" else failed_run
        return self._write(of_end(end, values, spec))

    def _attempt(self, say: Callable[[], None], *, in_folder: bool = True) -> None:
        """Says it, after what was missed while the server did not answer; what the run folder has
        is then said already.
        """
        try:
            if self._behind_since is not None:
                if time.monotonic() - self._behind_since < RETRY_S:
                    return
                if self._optimizer is None:  # so early there is nothing to say
                    return
                self.reconcile(self._optimizer)
                self._behind_since = None
                print("MLflow answers again; what it missed is logged", file=sys.stderr)
                if in_folder:
                    return
            say()
        except failures() as error:
            self._falls_behind(error)

    def _falls_behind(self, error: Exception) -> None:
        """Said once, until MLflow answers again."""
        if self._behind_since is None:
            print(f"MLflow: {error_text(error)}; the sweep goes on", file=sys.stderr)
        self._behind_since = time.monotonic()

    def log_hypervolume(self, value: float, finished: int) -> None:
        """A point of the parent's hypervolume curve, by number of finished trials."""
        self._volumes.append((value, finished))
        self._attempt(self._log_volumes, in_folder=False)

    def _log_volumes(self) -> None:
        while self._volumes:
            value, step = self._volumes[0]
            self._client.log_metric(self.parent_id, "hypervolume", value, step=step)
            del self._volumes[0]

    def log_front(self, front: ParetoFront) -> None:
        """The front so far, as its files are in the run folder: artifacts and description."""
        self._attempt(lambda: self._log_front(front), in_folder=False)

    def _log_front(self, front: ParetoFront) -> None:
        log_front(self._client, self.experiment_id, self.parent_id, front, self._run.path)

    def log_agreement(self, agreement: Mapping[str, Agreement]) -> None:
        """Metrics of the parent: rank correlation of predicted and measured loss."""
        values = {
            f"{kind}/{name}": value
            for name, found in agreement.items()
            for kind, value in (
                ("rank_correlation", found.scores),
                ("rank_correlation_recalibrated", found.recalibrated),
            )
            if math.isfinite(value)
        }
        for name, value in values.items():
            self._attempt(partial(self._log_metric, name, value))

    def _log_metric(self, name: str, value: float) -> None:
        self._client.log_metric(self.parent_id, name, value)

    def log_interruption(self) -> None:
        """The parent ends KILLED; `resume` opens it again, and logs a child that was cut short."""
        self._attempt(self._log_interruption, in_folder=False)

    def _log_interruption(self) -> None:
        if not self.parent_id:
            self._open()
        for child in self._runs(f"tags.`{PARENT}` = '{self.parent_id}' and {UNFINISHED}"):
            self._client.delete_run(child.info.run_id)
        self._client.set_terminated(self.parent_id, "KILLED")

    def finish(self, front: ParetoFront) -> None:
        """The front as table, picture, page and description; the parent ends FINISHED.
        ExecutionError where MLflow does not answer.
        """
        try:
            if self._behind_since is not None and self._optimizer is not None:
                self.reconcile(self._optimizer)
            self._log_volumes()
            self._finish(front)
        except failures() as error:
            self._behind_since = time.monotonic()
            raise ExecutionError(
                f"the sweep is complete, but MLflow at {mask_passwords(self.tracking_uri)} does "
                f"not answer: {error_text(error)}; {self._run.resume_command()} logs what it missed"
            ) from error

    def _finish(self, front: ParetoFront) -> None:
        self._client.log_table(self.parent_id, _columns(front), "front/front.json")
        log_all(self._client, self.experiment_id, self.parent_id, front, self._run.path)
        self._client.log_artifact(self.parent_id, str(self._run.sweep_file))
        best = {f"best/{o.name}": _best(front, o) for o in front.objectives if front.points}
        if front.dense is not None:
            best |= {f"dense/{o.name}": o.function(front.dense) for o in front.objectives}
        for name, value in best.items():
            self._client.log_metric(self.parent_id, name, value)
        on_front = {p.trial_id for p in front.points}
        for number, run_id in self._children.items():
            self._client.set_tag(run_id, ON_FRONT, "yes" if number in on_front else "no")
        self._client.set_terminated(self.parent_id, "FINISHED")

    def _write(self, child: ChildRun, trial: StoredTrial | None = None) -> None:
        """Makes a run of it, ended; one that is cut short stays RUNNING and is made again."""
        from mlflow.entities import Metric, Param

        ended = int(time.time() * 1000)
        tags = {PARENT: self.parent_id, TRIAL: str(child.trial_id), SWEEP: self._run.name}
        tags |= {**self._code, **child.tags}
        if child.reason is not None:
            tags |= {REASON: child.reason, "mlflow.note.content": child.reason}
        run_id = self._client.create_run(
            self.experiment_id,
            start_time=ended - int(child.seconds * 1000),
            tags=tags,
            run_name=child.name,
        ).info.run_id
        points = [Metric(name, value, ended, 0) for name, value in child.metrics.items()]
        points += [
            Metric(name, value, ended + at, step)
            for at, (name, value, step) in enumerate(child.curves)
        ]
        params = [Param(name, value) for name, value in child.params.items()]
        self._client.log_batch(run_id, metrics=points[:METRICS_A_CALL], params=params)
        for first in range(METRICS_A_CALL, len(points), METRICS_A_CALL):
            self._client.log_batch(run_id, metrics=points[first : first + METRICS_A_CALL])
        if trial is not None:
            self._files(run_id, child, trial)
        self._client.set_terminated(run_id, child.status, ended)
        self._children[child.trial_id] = run_id

    def _files(self, run_id: str, child: ChildRun, trial: StoredTrial) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "allocation.json"
            write_json(path, allocation_document(trial, self._sweep, self._run))
            self._client.log_artifact(run_id, str(path))
        self._client.log_artifact(run_id, str(trial.path / "result.json"))
        self._client.log_table(run_id, dict(child.layers), "layers.json")

    def _runs(self, text: str) -> list[Any]:
        return runs_where(self._client, self.experiment_id, text)

    def _parent(self, run_id: str) -> str:
        """The parent run of this launch, made or opened again."""
        found = self._runs(f"tags.sparsefront_launch = '{run_id}'")
        if found:
            parent = str(found[0].info.run_id)
            self._client.update_run(parent, status="RUNNING")
            return parent
        spec = {
            "objectives": ", ".join(self._sweep.objectives),
            "sampler": self._sweep.sampler,
            "trials": str(self._sweep.trials),
            "seed": str(self._sweep.seed),
            "criterion": json.dumps(self._sweep.trial.to_dict()["criterion"]),
            "checkpoint": self._sweep.trial.checkpoint,
        }
        from mlflow.entities import Param

        tags = {"sparsefront_launch": run_id, SWEEP: self._run.name, **_commit(self._run)}
        made = self._client.create_run(self.experiment_id, tags=tags, run_name=self._run.name)
        parent = str(made.info.run_id)
        self._client.log_batch(parent, params=[Param(k, v) for k, v in spec.items()])
        return parent


def _commit(run: RunFolder) -> dict[str, str]:
    """MLflow's own tag for the code that a run is of; none outside a repository."""
    code = read_json(run.launch_file).get("code") if run.launch_file.is_file() else None
    if not code:
        return {}
    dirty = {"sparsefront.uncommitted_changes": "yes"} if code["dirty"] else {}
    return {"mlflow.source.git.commit": code["commit"], **dirty}


def _columns(front: ParetoFront) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"trial": [p.trial_id for p in front.points]}
    for objective in front.objectives:
        columns[objective.name] = [objective.function(p.result) for p in front.points]
    columns["sparsity"] = [p.result.metrics["sparsity"] for p in front.points]
    for modality in front.points[0].result.per_modality_sparsity if front.points else ():
        columns[f"sparsity.{modality}"] = [
            p.result.per_modality_sparsity[modality] for p in front.points
        ]
    return columns


def _best(front: ParetoFront, objective: Any) -> float:
    values = [objective.function(p.result) for p in front.points]
    return float(max(values) if objective.direction == "max" else min(values))
