"""MLflow: one parent run a sweep, one child a trial, the front on the parent.

Only the driver writes. A child appears when its trial has ended, so a killed driver leaves none
running; what it missed is logged from the run folder by `reconcile`. A server that does not answer
never holds up the sweep: what it missed is logged when it is back, or by `sparsefront resume`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search.answers import Failed, program
from search.exports.allocation_file import allocation_document
from search.front import ParetoFront
from search.optimizer import Optimizer
from search.proposals.prediction import Agreement
from search.run_store import (
    Ending,
    RunFolder,
    Stop,
    StoredTrial,
    read_stopped,
    read_trial,
    write_json,
)
from search.sweep_file import Sweep
from search.tasks import BEFORE_TRAINING
from search.trials.spec import Look, TrialResult

EXPERIMENT = "sparsefront"
TRIAL, SWEEP, ON_FRONT, REASON = (f"sparsefront.{t}" for t in ("trial", "sweep", "front", "reason"))
PARENT = "mlflow.parentRunId"
SQLITE = "sqlite:///"
METRICS_A_CALL = 1000  # MLflow takes no more in one batch
RETRY_S = 20.0
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial, where there is a server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own 7 would hold up the sweep for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class Tracking:
    """The MLflow side of one sweep; safe to open again after a crash."""

    def __init__(self, sweep: Sweep, run: RunFolder, run_id: str, tracking_uri: str) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        for logger in ("mlflow", "alembic"):
            logging.getLogger(logger).setLevel(logging.WARNING)

        self.tracking_uri = tracking_uri
        if tracking_uri.startswith(SQLITE):
            make_database(Path(tracking_uri.removeprefix(SQLITE)))
        self._sweep, self._run = sweep, run
        self._client = MlflowClient(tracking_uri=tracking_uri)
        try:
            self.experiment_id = self._experiment()
            self.parent_id = self._parent(run_id)
        except MlflowException as error:
            raise ValueError(
                f"tracking_uri: value {tracking_uri!r}: {one_line(error)}; allowed: a server that "
                "answers, or a database"
            ) from error
        self._children: dict[int, str] = {}
        self._volumes: list[tuple[float, int]] = []
        self._optimizer: Optimizer | None = None
        self._behind_since: float | None = None
        write_json(run.look_file, {"mlflow": self.where()})

    def where(self) -> str:
        """How to look at the parent run: its page, and the server to start where none runs."""
        page = (
            f"#/experiments/{self.experiment_id}/runs/{self.parent_id}"
            "?workflowType=machine_learning"
        )
        if self.tracking_uri.startswith("http"):
            return f"{self.tracking_uri}/{page}"
        start = f"{program('mlflow')} ui --backend-store-uri {self.tracking_uri}"
        return f"{start}\n        then http://127.0.0.1:5000/{page}"

    def reconcile(self, optimizer: Optimizer) -> None:
        """Makes MLflow agree with the run folder: nothing missing, nothing twice or half."""
        self._optimizer = optimizer
        self._children = {}
        for child in self._search(f"tags.`{PARENT}` = '{self.parent_id}'"):
            number = int(child.data.tags[TRIAL])
            if child.info.status == "RUNNING" or number in self._children:
                self._client.delete_run(child.info.run_id)
            else:
                self._children[number] = child.info.run_id
        finished = set(self._run.finished())
        for trial_id, state in optimizer.states().items():
            if trial_id in self._children:
                continue
            values = optimizer.values(trial_id) if state != "WAITING" else {}
            if trial_id in finished:
                self._log(trial_id, values, read_trial(self._run, trial_id))
            elif stop := read_stopped(self._run, trial_id):
                self._log(trial_id, values, stop)
            elif state == "FAIL":
                self._log(trial_id, values, optimizer.reason(trial_id) or "no reason recorded")

    def catch_up(self, optimizer: Optimizer) -> None:
        """Makes MLflow agree now, or as soon as it answers."""
        self._optimizer = optimizer
        self._attempt(lambda: self.reconcile(optimizer))

    def ended(self, trial_id: int, values: Mapping[str, Any], how: Ending) -> None:
        """A trial that finished, was stopped, or failed for a reason."""
        self._attempt(lambda: self._log(trial_id, values, how))

    def _log(self, trial_id: int, values: Mapping[str, Any], how: Ending) -> None:
        if isinstance(how, StoredTrial):
            self.finished(how, values)
        elif isinstance(how, Stop):
            self.stopped(trial_id, values, how)
        else:
            self.failed(trial_id, values, how)

    def _attempt(self, say: Callable[[], None], *, in_folder: bool = True) -> None:
        """Says it, after what was missed while the server did not answer; what the run folder has
        is then said already.
        """
        from mlflow.exceptions import MlflowException

        try:
            if self._behind_since is not None:
                if time.monotonic() - self._behind_since < RETRY_S:
                    return
                assert self._optimizer is not None
                self.reconcile(self._optimizer)
                self._behind_since = None
                print("MLflow answers again; what it missed is logged", file=sys.stderr)
                if in_folder:
                    return
            say()
        except (MlflowException, OSError) as error:
            if self._behind_since is None:
                print(f"MLflow: {one_line(error)}; the sweep goes on", file=sys.stderr)
            self._behind_since = time.monotonic()

    def finished(self, trial: StoredTrial, values: Mapping[str, Any]) -> None:
        """Logs a finished trial in one batch, with its allocation and result as artifacts."""
        result = trial.result
        metrics = {
            **result.metrics,
            **{f"sparsity.{m}": v for m, v in result.per_modality_sparsity.items()},
            **{f"GMACs.{m}": v for m, v in result.per_modality_GMACs.items()},
            **result.per_class,
            **{f"time.{t}": v for t, v in result.timings.items()},
        }
        with self._child(trial.trial_id, values, metrics, result.timings["total_s"]) as run_id:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "allocation.json"
                write_json(path, allocation_document(trial, self._sweep, self._run))
                self._client.log_artifact(run_id, str(path))
            self._client.log_artifact(run_id, str(trial.path / "result.json"))
            self._curves(run_id, trial.result)
            self._looks(run_id, trial.result.looks)

    def stopped(self, trial_id: int, values: Mapping[str, Any], stop: Stop) -> None:
        """Logs a trial that was ended early: its costs, and the looks as metrics rung.NAME."""
        seconds = stop.looks[-1]["total_s"] if stop.looks else 0.0
        costs = {name: value for name, value in stop.costs.items() if name in BEFORE_TRAINING}
        with self._child(trial_id, values, costs, seconds, stop.reason, "KILLED") as run_id:
            self._looks(run_id, stop.looks)

    def failed(self, trial_id: int, values: Mapping[str, Any], reason: str) -> None:
        """Logs a failed trial with its reason."""
        with self._child(trial_id, values, {}, 0.0, reason, "FAILED"):
            pass

    def hypervolume(self, value: float, finished: int) -> None:
        """A point of the parent's hypervolume curve, by number of finished trials."""
        self._volumes.append((value, finished))
        self._attempt(self._log_volumes, in_folder=False)

    def _log_volumes(self) -> None:
        while self._volumes:
            value, step = self._volumes[0]
            self._client.log_metric(self.parent_id, "hypervolume", value, step=step)
            del self._volumes[0]

    def agreed(self, agreement: Mapping[str, Agreement]) -> None:
        """Metrics of the parent: rank correlation of predicted and measured loss."""
        values = {
            f"{kind}.{name}": value
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

    def interrupted(self) -> None:
        """The parent ends KILLED; `resume` opens it again."""
        self._attempt(
            lambda: self._client.set_terminated(self.parent_id, "KILLED"), in_folder=False
        )

    def finish(self, front: ParetoFront) -> None:
        """The front as table, picture, page and description; the parent ends FINISHED. Failed where
        MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            if self._behind_since is not None and self._optimizer is not None:
                self.reconcile(self._optimizer)
            self._log_volumes()
            self._finish(front)
        except (MlflowException, OSError) as error:
            self._behind_since = time.monotonic()
            raise Failed(
                f"the sweep is complete, but MLflow at {self.tracking_uri} does not answer: "
                f"{one_line(error)}; {self._run.resume()} logs what it missed"
            ) from error

    def _finish(self, front: ParetoFront) -> None:
        self._client.log_table(self.parent_id, _columns(front), "front/front.json")
        for name in ("front.png", "front.html"):
            self._client.log_artifact(self.parent_id, str(self._run.path / name), "front")
        self._client.log_artifact(self.parent_id, str(self._run.sweep_file))
        self._client.set_tag(self.parent_id, "mlflow.note.content", description(front))
        best = {f"best.{o.name}": _best(front, o) for o in front.objectives if front.points}
        for name, value in best.items():
            self._client.log_metric(self.parent_id, name, value)
        on_front = {p.trial_id for p in front.points}
        for number, run_id in self._children.items():
            self._client.set_tag(run_id, ON_FRONT, "yes" if number in on_front else "no")
        self._client.set_terminated(self.parent_id, "FINISHED")

    def _curves(self, run_id: str, result: TrialResult) -> None:
        """Fine-tuning loss by step, residuals and terms of ADMM by round."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric("fine_tune.loss", v, now, step) for step, v in enumerate(result.losses)]
        for number, terms in enumerate(result.admm):
            points += [Metric(f"admm.{name}", v, now, number) for name, v in terms.items()]
        for first in range(0, len(points), METRICS_A_CALL):
            self._client.log_batch(run_id, metrics=points[first : first + METRICS_A_CALL])

    def _looks(self, run_id: str, looks: Sequence[Look]) -> None:
        """Metrics at the rungs, over fine-tuning steps, apart from those at full fidelity."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(f"rung.{name}", value, now + at, look["steps"])
            for at, look in enumerate(looks)
            for name, value in look["metrics"].items()
        ]
        self._client.log_batch(run_id, metrics=points)

    @contextmanager
    def _child(
        self,
        trial_id: int,
        values: Mapping[str, Any],
        metrics: Mapping[str, float],
        seconds: float,
        reason: str | None = None,
        status: str = "FINISHED",
    ) -> Any:
        from mlflow.entities import Metric, Param

        ended = int(time.time() * 1000)
        tags = {PARENT: self.parent_id, TRIAL: str(trial_id), SWEEP: self._run.name}
        if reason is not None:
            tags |= {REASON: reason, "mlflow.note.content": reason}
        run_id = self._client.create_run(
            self.experiment_id,
            start_time=ended - int(seconds * 1000),
            tags=tags,
            run_name=f"{self._run.name}-{trial_id}",
        ).info.run_id
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, ended, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in values.items()],
        )
        yield run_id
        self._client.set_terminated(run_id, status, ended)
        self._children[trial_id] = run_id

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        local = None
        if self.tracking_uri.startswith(SQLITE):
            local = (self._run.out / "mlflow-artifacts").as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=local))

    def _parent(self, run_id: str) -> str:
        """The parent run of this launch, made or opened again."""
        found = self._search(f"tags.sparsefront_launch = '{run_id}'")
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

        tags = {"sparsefront_launch": run_id, SWEEP: self._run.name}
        made = self._client.create_run(self.experiment_id, tags=tags, run_name=self._run.name)
        parent = str(made.info.run_id)
        self._client.log_batch(parent, params=[Param(k, v) for k, v in spec.items()])
        return parent

    def _search(self, text: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], text, max_results=1000, page_token=token
            )
            found.extend(page)
            token = page.token
            if not token:
                return found


def one_line(error: BaseException) -> str:
    """An error's first line, shortened."""
    return " ".join(str(error).split())[:200]


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


def description(front: ParetoFront) -> str:
    """The front as the parent's note: what one sees first on its page."""
    return (
        f"Pareto front of **{front.name}** by {', '.join(o.name for o in front.objectives)}.\n\n"
        f"```\n{front.table()}\n```\n\n"
        f"Picture and table: artifacts, folder `front`. Export a point: "
        f"`sparsefront export {front.name} --pick knee --out DIR`"
    )


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
