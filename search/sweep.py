"""A sweep: Ray Tune runs the trials that Optuna proposes, MLflow and the run folder keep them.

The run folder is the truth. Whatever the driver forgets when it is killed is found there again:
finished trials are told to Optuna and MLflow, trials that were running start again under their id.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from search import strict_yaml
from search.answers import Failed, plain
from search.cluster.connect import connected
from search.cluster.finished import FinishedTrials
from search.cluster.listeners import Listeners
from search.cluster.live import Live
from search.front import ParetoFront
from search.inspection.files_of_sweep import files_in, save_all
from search.inspection.live_front import LiveFront
from search.inspection.sweep_view import view_of
from search.inspection.tracking import Tracking
from search.optimizer import Failure, Optimizer, Proposal
from search.proposals.first import needs_scores, predicts, prepare_search
from search.proposals.for_sweep import optimizer_of, tell, tell_stopped
from search.proposals.warm_start import take_over
from search.runs.interrupts import ENDING, listen
from search.runs.one_driver import Lease, only_driver
from search.runs.passwords import masked
from search.runs.places import absolute, check_uris
from search.runs.provenance import git_state
from search.runs.run_folder import at_work
from search.runs.run_store import (
    RunFolder,
    drop_torn_line,
    full_disk,
    has_ended,
    looks_at_all,
    no_space,
    read_failure,
    read_json,
    read_stopped,
    read_trial,
    remove_unfinished,
    run_folder,
    write_bytes,
    write_json,
)
from search.runs.study_storage import StudyLost, lost
from search.space import Choices, with_values
from search.sweep_file import TRADE_OFF, Sweep, read_sweep
from search.trials.checkpoint import tidy
from search.trials.loss_curves import by
from search.trials.spec import TrialSpec

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
    study         the sweep's name in a database that other sweeps share; None: its name
    code          commit of the folder it was launched from, and whether that was dirty; None
                  outside git
    """

    run_id: str
    address: str | None
    tracking_uri: str | None
    code: dict[str, Any] | None = None
    study: str | None = None


def run_sweep(
    sweep: Sweep, *, name: str, out: str | Path, address: str | None, trials: int | None
) -> ParetoFront:
    """Runs a new sweep to its end; OUT, a path or a URI, must not hold NAME. Returns the front."""
    sweep = absolute(replace(sweep, name=name, trials=trials or sweep.trials))
    check_uris(sweep)
    with (
        at_work(run_folder(out, name)) as run,
        _ending_well(run),
        connected(address, sweep),
        only_driver(run) as lease,
    ):
        if run.exists():
            raise ValueError(f"--name: value {name!r} exists in {run.runs}; allowed: a new name")
        own = None if run.shared is not None else f"sqlite:///{run.records / 'mlflow.db'}"
        run_id = uuid.uuid4().hex
        launch = Launch(
            run_id=run_id,
            address=address,
            tracking_uri=masked(sweep.tracking_uri) if sweep.tracking_uri else own,
            code=git_state(Path.cwd()),
            study=f"{name}-{run_id}" if sweep.storage else None,
        )
        write_json(run.launch_file, asdict(launch))
        text = yaml.safe_dump(plain(asdict(sweep)), sort_keys=False)
        write_bytes(run.sweep_file, text.encode())  # last: from here on the sweep exists
        run.push(run.launch_file, run.sweep_file)
        return _run(sweep, run, launch, lease)


def resume_sweep(name: str, out: str | Path, address: str | None = None) -> ParetoFront:
    """Finishes a sweep after any crash; finished trials are not run again."""
    found = run_folder(out, name).require()
    with at_work(found) as run, _ending_well(run), only_driver(run) as lease:
        run.pulled()
        launch = Launch(**read_json(run.launch_file))
        if address is not None:
            launch = replace(launch, address=address)
        sweep = read_sweep(run.sweep_file)
        with connected(launch.address, sweep):
            return _run(sweep, run, launch, lease)


def _run(sweep: Sweep, run: RunFolder, launch: Launch, lease: Lease | None) -> ParetoFront:
    listen()  # again, as Ray has put its own handler in place
    drop_torn_line(run.storage)
    storage, named = strict_yaml.expand(sweep.storage), strict_yaml.expand(sweep.tracking_uri)
    optimizer = optimizer_of(sweep, storage or run.storage, launch.study)
    records = named or launch.tracking_uri or _own_records(run)
    tracking = Tracking(sweep, run, launch.run_id, records)
    with _ended(tracking):
        taken = take_over(sweep, optimizer, run)
        finished = FinishedTrials(sweep, run)
        again = _reconcile(sweep, optimizer, tracking, run, finished)
        with Live(sweep, optimizer, finished) as live:
            for line in taken:
                live.say(line)
            if optimizer.told() < sweep.trials:
                drawn = LiveFront(sweep, run, tracking.show)
                listeners = Listeners(finished, live, tracking, drawn)
                _tune(sweep, run, optimizer, listeners, live, again, lease)
        view = view_of(run)
        save_all(view, run.path)
        front = view.front
        run.push(run.storage, run.look_file, *files_in(run.path))
        tracking.finish(front)
    if not front.points and not front.others:
        what, file = "failed", "failure.json"
        if optimizer.told() == 0:
            what, file = "ended before any training", "stopped.json"
        raise Failed(f"sweep {run.name!r}: every trial {what}; see {run.place}/trials/*/{file}")
    return front


def _own_records(run: RunFolder) -> str:
    """MLflow's database where nobody named one for a sweep whose runs are behind a URI."""
    file = run.records / "mlflow.db"
    print(
        f"MLflow: no tracking_uri in the sweep file, so its records are in {file} of this machine; "
        "`sparsefront resume` writes them elsewhere",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return f"sqlite:///{file}"


def _reconcile(
    sweep: Sweep,
    optimizer: Optimizer,
    tracking: Tracking,
    run: RunFolder,
    finished: FinishedTrials,
) -> list[Proposal]:
    """Tells what ended while nobody listened; returns the proposals to go on with, those with a
    checkpoint after their last rung.
    """
    done = set(run.finished())
    again = []
    for proposal in optimizer.running():
        number = proposal.trial_id
        if has_ended(run.trial_dir(number)):
            tidy(run, number)
        if number in done:
            tell(optimizer, sweep, number, read_trial(run, number).result)
        elif stop := read_stopped(run, number):
            tell_stopped(optimizer, sweep, number, stop, finished.results())
        elif reason := read_failure(run, number):
            optimizer.tell(number, Failure(reason))
        else:
            remove_unfinished(run, number)
            again.append(proposal)
    tracking.catch_up(optimizer)
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

    from search.cluster.searcher import OptunaSearcher, TrialWatcher
    from search.cluster.worker import TrialActor
    from search.rungs.scheduler import HalvingScheduler
    from search.trials.shared import prepare_all

    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = NEVER_S
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # reasons are told by the searcher
    resources = {"CPU": sweep.cpus_per_trial, "GPU": sweep.gpus_per_trial}
    prepared = ray.remote(num_cpus=sweep.cpus_per_trial, num_gpus=sweep.gpus_per_trial)(prepare_all)
    live.say("scoring the dense model")
    shares = [rung.frames for rung in sweep.halving.rungs] if sweep.halving is not None else []
    shared = ray.get(prepared.remote(scored_specs(sweep), shares))
    prepare_search(sweep, optimizer, shared)
    actor = tune.with_parameters(TrialActor, shared=shared, sweep=sweep, run=run)
    del shared  # Ray's object store has it now
    watcher = TrialWatcher(live, lease)
    searcher = OptunaSearcher(sweep, optimizer, run, listeners, watcher, again)
    scheduler = None
    if sweep.halving is not None:
        scheduler = HalvingScheduler(sweep, sweep.halving, run, looks_at_all(run))
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
    if watcher.stop is not None:
        raise Failed(watcher.stop)
    agreement = optimizer.agreement()
    listeners.agreed(agreement)
    if agreement:
        write_json(run.agreement_file, {name: asdict(found) for name, found in agreement.items()})
        run.push(run.agreement_file)


@contextmanager
def _ending_well(run: RunFolder) -> Iterator[None]:
    """SIGINT, SIGTERM and a full disk end the driver in order, with one line on how to go on."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = {number: signal.getsignal(number) for number in ENDING}
    listen()
    try:
        yield
    except KeyboardInterrupt:
        if not run.sweep_file.is_file():
            raise
        raise Failed(f"interrupted; {run.resume()} goes on with the sweep") from None
    except StudyLost as error:
        storage = read_sweep(run.sweep_file).storage
        raise Failed(f"{lost(storage, error)}; {run.resume()} goes on with the sweep") from error
    except Exception as error:
        if not no_space(error):
            raise
        where = getattr(error, "filename", None) or run.path
        raise Failed(full_disk(where, run)) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ended(tracking: Tracking) -> Iterator[None]:
    """Whatever ends the driver early, MLflow is told."""
    try:
        yield
    except BaseException:
        tracking.interrupted()
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
    if predicts(sweep) and TRADE_OFF not in sweep.space:
        own.append(by(sweep.trial, sweep.predicted_by))
    return own + [spec for values in together if values and (spec := _spec_of(sweep, values))]


def _spec_of(sweep: Sweep, values: Mapping[str, object]) -> TrialSpec | None:
    """None for choices that do not go together: their trials fail, each with the reason."""
    try:
        return with_values(sweep.trial, values)
    except ValueError:
        return None
