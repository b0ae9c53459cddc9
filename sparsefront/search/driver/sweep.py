"""A sweep: Ray Tune runs the trials that Optuna proposes, MLflow and the run folder keep them.

The run folder is the truth. Whatever the driver forgets when it is killed is found there again:
how trials ended reaches Optuna and MLflow, trials that were running start again under their id.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from sparsefront.errors import ExecutionError, InputError, is_disk_full
from sparsefront.files.atomic import drop_torn_line, read_json, write_bytes, write_json
from sparsefront.plugins import at_home
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.config.space import Choices, with_values
from sparsefront.search.config.strict_yaml import to_plain
from sparsefront.search.config.sweep_file import TRADE_OFF, Sweep, read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.driver.absolute_paths import check_uris, with_absolute_paths
from sparsefront.search.driver.connect import ray_connection
from sparsefront.search.driver.dense import DenseEvaluation
from sparsefront.search.driver.finished import FinishedTrials
from sparsefront.search.driver.first_trials import needs_scores, predicts, prepare_search
from sparsefront.search.driver.listeners import Listeners
from sparsefront.search.driver.live import Live
from sparsefront.search.driver.own_code import hash_of_code, say_if_changed
from sparsefront.search.driver.predictions import curve_request
from sparsefront.search.driver.resources import idle_gpus
from sparsefront.search.driver.tidy import tidy
from sparsefront.search.driver.warm_start import take_over
from sparsefront.search.optimizer.ask_and_tell import Optimizer, Proposal
from sparsefront.search.optimizer.for_sweep import optimizer_of, tell_end
from sparsefront.search.optimizer.study_storage import StudyLost, connection_error_message
from sparsefront.search.reports.live_front import LiveFront
from sparsefront.search.reports.mlflow_logger import MlflowLogger
from sparsefront.search.reports.sweep_files import files_in, save_all
from sparsefront.search.reports.sweep_view import view_of
from sparsefront.search.runs.front import ParetoFront
from sparsefront.search.runs.interrupts import interruptible, listen
from sparsefront.search.runs.one_driver import Lease, only_driver
from sparsefront.search.runs.run_folder import RUNS, RunFolder, has_ended, run_folder, working_copy
from sparsefront.search.runs.trial_reader import read_end, read_intermediate_results
from sparsefront.search.runs.trial_writer import remove_unfinished
from sparsefront.search.trial.loss_curves import with_criterion
from sparsefront.search.trial.provenance import git_state

NEVER_S = "1e9"
"""How often Tune writes its own state of all trials, which it keeps in memory for that and we never
restore from.
"""
MOST_TOGETHER = 64
"""Combinations of choices that are scored before the first trial."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a sweep was started: kept beside it for `resume`.

    tracking_uri  without its password, which the sweep file has a way to; None: MLflow's database
                  is on the machine of whoever drives
    folder        that it was launched from
    own_code      names and hash of the classes that the sweep file names by import paths
    study         the sweep's name in a database that other sweeps share; None: its name
    code          commit of the folder it was launched from, and whether that was dirty; None
                  outside git
    """

    run_id: str
    address: str | None
    tracking_uri: str | None
    code: dict[str, Any] | None = None
    study: str | None = None
    folder: str | None = None
    own_code: dict[str, Any] | None = None


def run_sweep(
    sweep: Sweep,
    *,
    name: str | None = None,
    runs: str | Path = RUNS,
    address: str | None = None,
    trials: int | None = None,
    wait_for_nodes: float = 0.0,
) -> ParetoFront:
    """Runs a new sweep to its end and returns its front.

    name     of the sweep and its folder, which must be new under `runs`; None: the sweep's own
    runs     the folder of all runs, a path or a URI
    address  Ray cluster: "auto" or HOST:PORT; None or "local": an instance started for this sweep
    trials   how many, in place of the sweep's own number
    wait_for_nodes   seconds until a node must be there that has room for a trial
    InputError for what cannot be used, ExecutionError where every trial failed or the sweep was
    interrupted.
    """
    name = name or sweep.name
    sweep = with_absolute_paths(replace(sweep, name=name, trials=trials or sweep.trials))
    check_uris(sweep)
    with (
        working_copy(run_folder(runs, name)) as run,
        _graceful_shutdown(run),
        ray_connection(address, sweep, wait_for_nodes),
        only_driver(run) as lease,
    ):
        if run.exists():
            raise InputError(
                f"--name: value {name!r} exists in {run.runs_uri}; allowed: a new name"
            )
        own = None if run.shared is not None else run.mlflow_database
        run_id = uuid.uuid4().hex
        launch = Launch(
            run_id=run_id,
            address=address,
            tracking_uri=mask_passwords(sweep.tracking_uri) if sweep.tracking_uri else own,
            code=git_state(Path.cwd()),
            study=f"{name}-{run_id}" if sweep.storage else None,
            folder=str(Path.cwd()),
            own_code=hash_of_code(sweep),
        )
        write_json(run.launch_file, asdict(launch))
        text = yaml.safe_dump(to_plain(asdict(sweep)), sort_keys=False)
        write_bytes(run.sweep_file, text.encode())  # last: from here on the sweep exists
        run.push(run.launch_file, run.sweep_file)
        front = _run(sweep, run, launch, lease)
    return replace(front, run=run_folder(runs, name))


def resume_sweep(
    name: str,
    runs: str | Path = RUNS,
    address: str | None = None,
    wait_for_nodes: float = 0.0,
) -> ParetoFront:
    """Finishes a sweep after any crash and returns its front; finished trials are not run again.

    runs     the folder of all runs, a path or a URI
    address  Ray cluster, where it is another one now; None: as launched
    wait_for_nodes   seconds until a node must be there that has room for a trial
    InputError and ExecutionError as in run_sweep.
    """
    found = run_folder(runs, name).require()
    with working_copy(found) as run, _graceful_shutdown(run), only_driver(run) as lease:
        run.pull()
        launch = Launch(**read_json(run.launch_file))
        if address is not None:
            launch = replace(launch, address=address)
        with at_home(launch.folder):
            sweep = read_sweep(run.sweep_file, in_full=True)
            say_if_changed(launch.own_code, hash_of_code(sweep))
            with ray_connection(launch.address, sweep, wait_for_nodes):
                front = _run(sweep, run, launch, lease)
    return replace(front, run=found)


def _run(sweep: Sweep, run: RunFolder, launch: Launch, lease: Lease | None) -> ParetoFront:
    listen()  # again, as Ray has put its own handler in place
    drop_torn_line(run.journal)
    storage, named = strict_yaml.expand(sweep.storage), strict_yaml.expand(sweep.tracking_uri)
    optimizer = optimizer_of(sweep, storage or run.journal, launch.study)
    mlflow_uri = named or launch.tracking_uri or _own_database(run)
    logger = MlflowLogger(sweep, run, launch.run_id, mlflow_uri)
    with _told_of_interruption(logger):
        taken_over = take_over(sweep, optimizer, run)
        finished = FinishedTrials(sweep, run)
        again = _reconcile(sweep, optimizer, logger, run, finished)
        with Live(sweep, optimizer, finished) as live:
            for line in taken_over:
                live.say(line)
            if optimizer.num_finished() < sweep.trials:
                drawn = LiveFront(sweep, run, logger.log_front)
                dense = DenseEvaluation(sweep, run, live)
                listeners = Listeners(finished, live, logger, drawn, dense)
                _tune(sweep, run, optimizer, listeners, live, again, lease)
        view = view_of(run)
        save_all(view, run.path)
        front = view.front
        run.push(run.journal, run.mlflow_file, *files_in(run.path))
        logger.finish(front)
    if not front.points and not front.others:
        what, file = "failed", "failure.json"
        if optimizer.num_finished() == 0:
            what, file = "ended before any training", "stopped.json"
        raise ExecutionError(
            f"sweep {run.name!r}: every trial {what}; see {run.display_uri}/trials/*/{file}"
        )
    return front


def _own_database(run: RunFolder) -> str:
    """MLflow's database where nobody named one for a sweep whose runs are behind a URI."""
    print(
        "MLflow: no tracking_uri in the sweep file, so its records are in "
        f"{run.mlflow_database_file} of this machine; `sparsefront resume` writes them elsewhere",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return run.mlflow_database


def _reconcile(
    sweep: Sweep,
    optimizer: Optimizer,
    logger: MlflowLogger,
    run: RunFolder,
    finished: FinishedTrials,
) -> list[Proposal]:
    """Tells what ended while nobody listened; returns the proposals to go on with, those with a
    checkpoint after their last rung.
    """
    again = []
    for proposal in optimizer.running():
        number = proposal.trial_id
        if has_ended(run.trial_dir(number)):
            tidy(run, number)
        if end := read_end(run, number):
            tell_end(optimizer, sweep, end, finished.results())
        else:
            remove_unfinished(run, number)
            again.append(proposal)
    logger.catch_up(optimizer)
    return again


def _tune(
    sweep: Sweep,
    run: RunFolder,
    optimizer: Optimizer,
    listeners: Listeners,
    live: Live,
    again: list[Proposal],
    lease: Lease | None,
) -> None:
    import ray
    from ray import tune

    from sparsefront.search.driver.gpu_memory import on_own_gpu
    from sparsefront.search.driver.scheduler import HalvingScheduler
    from sparsefront.search.driver.searcher import OptunaSearcher, TrialWatcher
    from sparsefront.search.driver.worker import TrialActor
    from sparsefront.search.trial.shared import prepare_all

    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = NEVER_S
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # else Tune prints a banner
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the searcher gives the reasons
    resources = {"CPU": sweep.cpus_per_trial, "GPU": sweep.gpus_per_trial}
    sized = ray.remote(num_cpus=sweep.cpus_per_trial, num_gpus=sweep.gpus_per_trial)
    prepared = sized(on_own_gpu(prepare_all))
    if idle := idle_gpus(sweep):
        live.say(idle)
    live.say("scoring the dense model")
    shares = [rung.frames for rung in sweep.halving.rungs] if sweep.halving is not None else []
    request = curve_request(sweep) if predicts(sweep) and TRADE_OFF not in sweep.space else None
    preparing = prepared.remote(scored_specs(sweep), shares, request)  # type: ignore[call-arg]
    listeners.dense.start()
    shared = ray.get(preparing)
    prepare_search(sweep, optimizer, shared)
    actor = tune.with_parameters(TrialActor, shared=shared, sweep=sweep, run=run)
    del shared  # Ray's object store has it now
    watcher = TrialWatcher(live, lease)
    searcher = OptunaSearcher(sweep, optimizer, run, listeners, watcher, again)
    scheduler = None
    if sweep.halving is not None:
        scheduler = HalvingScheduler(sweep, sweep.halving, run, read_intermediate_results(run))
    tuner = tune.Tuner(
        tune.with_resources(actor, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # the searcher says when it is over
            max_concurrent_trials=sweep.workers,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial-{trial.config['trial_id']}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.path / "ray"),
            callbacks=[watcher],
            verbose=0,
        ),
    )
    tuner.fit()
    listeners.dense.look(wait_s=None)
    if watcher.stop is not None:
        raise ExecutionError(watcher.stop)
    agreement = optimizer.agreement()
    listeners.measured_agreement(agreement)
    if agreement:
        write_json(run.agreement_file, {name: asdict(found) for name, found in agreement.items()})
        run.push(run.agreement_file)


@contextmanager
def _graceful_shutdown(run: RunFolder) -> Iterator[None]:
    """SIGINT, SIGTERM and a full disk end the driver in order, with one line on how to go on."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        if not run.sweep_file.is_file():
            raise
        raise ExecutionError(
            f"interrupted; {run.resume_command()} goes on with the sweep"
        ) from None
    except StudyLost as error:
        storage = read_sweep(run.sweep_file, in_full=True).storage
        raise ExecutionError(
            f"{connection_error_message(storage, error)}; {run.resume_command()} goes on with the "
            "sweep"
        ) from error
    except Exception as error:
        if not is_disk_full(error):
            raise
        where = getattr(error, "filename", None) or run.path
        raise ExecutionError(run.disk_full_message(where)) from error


@contextmanager
def _told_of_interruption(logger: MlflowLogger) -> Iterator[None]:
    """Whatever ends the driver early, MLflow hears of it."""
    try:
        yield
    except BaseException:
        logger.log_interruption()
        raise


def scored_specs(sweep: Sweep) -> list[TrialSpec]:
    """The trials whose statistics are worth computing before the first one starts: those of all
    choices together (a criterion with each fuser, each checkpoint), or of every choice alone where
    there are too many; and the sweep's own where nothing else tells them or its scores predict
    the first allocations.
    """
    chosen = {n: d.choices for n, d in sweep.space.items() if isinstance(d, Choices)}
    together = [dict(zip(chosen, values, strict=True)) for values in product(*chosen.values())]
    if len(together) > MOST_TOGETHER:
        together = [{name: value} for name, values in chosen.items() for value in values]
    own = [sweep.trial] if needs_scores(sweep) or not chosen else []
    guided = predicts(sweep) and TRADE_OFF not in sweep.space
    if guided and not curve_request(sweep).repaired():
        own.append(with_criterion(sweep.trial, sweep.predicted_by))
    return own + [spec for values in together if values and (spec := _spec_of(sweep, values))]


def _spec_of(sweep: Sweep, values: Mapping[str, object]) -> TrialSpec | None:
    """None for choices that do not go together: their trials fail, each with the reason."""
    try:
        return with_values(sweep.trial, values)
    except InputError:
        return None
