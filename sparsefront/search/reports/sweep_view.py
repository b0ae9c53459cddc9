"""A sweep as one looks at it: its front, and how every one of its trials came about and ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sparsefront.errors import InputError
from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.objectives import Bound, feasible
from sparsefront.search.config.space import Value, value_of
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.optimizer.for_sweep import first_of, initial_grid
from sparsefront.search.reports.study_trials import StudyTrial, read_study_trials
from sparsefront.search.runs.agreement_file import read_agreement
from sparsefront.search.runs.dense_file import read_dense
from sparsefront.search.runs.front import ParetoFront, pareto_front
from sparsefront.search.runs.run_folder import RunFolder, run_folder
from sparsefront.search.runs.trial_reader import StoredTrial, read_end, read_finished


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepView:
    """What charts and pages draw.

    values     trial id -> value of each searched field, as far as known
    baselines  trial id -> what had it tried before any proposal: uniform, ERK, papers
    ends       how every trial ended, in that order; those taken over from another sweep took 0 s
    underway   number of trials requested that have not ended
    agreement  quality -> how far its predicted loss turned out right, once the sweep is complete
    marked     the trial with a ring; None: the knee
    """

    front: ParetoFront
    sweep: Sweep | None = None
    values: Mapping[int, Mapping[str, Value]] = field(default_factory=dict)
    baselines: Mapping[int, str] = field(default_factory=dict)
    ends: tuple[TrialEnd, ...] = ()
    underway: int = 0
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    marked: StoredTrial | None = None

    @property
    def name(self) -> str:
        return self.front.name

    @property
    def trials(self) -> list[StoredTrial]:
        """Finished trials by id."""
        return sorted((*self.front.points, *self.front.others), key=lambda t: t.trial_id)

    @property
    def constraints(self) -> Mapping[str, Bound]:
        return {} if self.sweep is None else self.sweep.constraints

    def ringed(self) -> StoredTrial | None:
        """The marked trial or the knee; None where nothing is on the front."""
        if self.marked is None and self.front.points:
            return self.front.knee()
        return self.marked

    def dominated(self) -> list[StoredTrial]:
        """Trials within the constraints that another one beats."""
        return [t for t in self.front.others if feasible(t.result, self.constraints)]

    def infeasible(self) -> list[StoredTrial]:
        """Trials that break a constraint."""
        return [t for t in self.front.others if not feasible(t.result, self.constraints)]

    def count(self, status: str) -> int:
        """How many trials ended so: finished, stopped or failed."""
        return sum(end.status == status for end in self.ends)


def read_view(name: str, runs: str | Path) -> SweepView:
    """A sweep as its folder stands, finished or not; `runs`: a path or a URI. InputError naming the
    sweeps there are.
    """
    return view_of(run_folder(runs, name).require().pull())


def view_of(run: RunFolder) -> SweepView:
    """The same of what is on this machine."""
    sweep = read_sweep(run.sweep_file, in_full=True)
    trials = read_finished(run)
    study = read_study_trials(sweep, run)
    values = {t.trial_id: _values(sweep, t, study.get(t.trial_id)) for t in trials}
    return SweepView(
        front=pareto_front(
            run.name, trials, sweep.objectives, sweep.constraints, read_dense(run), sweep.metrics
        ),
        sweep=sweep,
        values=values,
        baselines=baselines_of(sweep, values, study),
        ends=_ends(run, study),
        underway=sum(t.state == "RUNNING" for t in study.values()),
        agreement=read_agreement(run),
    )


def require_finished(view: SweepView) -> None:
    """InputError in one line where there is nothing to draw yet."""
    if not view.trials:
        failed, stopped = view.count("failed"), view.count("stopped")
        raise InputError(
            f"sweep {view.name!r}: no finished trial yet ({failed} failed, {stopped} stopped, "
            f"{view.underway} under way); allowed: a sweep with at least one finished trial"
        )


def baselines_of(
    sweep: Sweep,
    values: Mapping[int, Mapping[str, Value]],
    study: Mapping[int, StudyTrial],
) -> dict[int, str]:
    """Trials that were tried before any proposal: uniform ones known by their values, others by
    what the optimizer stored of them.
    """
    found = {n: t.baseline for n, t in study.items() if t.baseline is not None}
    grid = initial_grid(sweep) if "uniform" in first_of(sweep) else []
    for number, own in values.items():
        if any(_same(own, point) for point in grid):
            found[number] = "uniform"
    return {number: label for number, label in found.items() if number in values}


def _same(own: Mapping[str, Value], point: Mapping[str, Value]) -> bool:
    return all(_equal(own.get(name), value) for name, value in point.items())


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, abs_tol=1e-9)
    return one == other


def _values(sweep: Sweep, trial: StoredTrial, known: StudyTrial | None) -> dict[str, Value]:
    """As Optuna proposed them; where that is unknown, as the trial itself has them."""
    if known is not None and known.values:
        return dict(known.values)
    found: dict[str, Value] = {}
    for name in sweep.space:
        try:
            found[name] = value_of(trial.requested, name)
        except (AssertionError, InputError):  # a trade-off that earlier versions did not keep
            continue
    return found


def _ends(run: RunFolder, study: Mapping[int, StudyTrial]) -> tuple[TrialEnd, ...]:
    """By the time that Optuna heard of it, else by the time of the trial's last file."""
    folders = {int(path.name) for path in run.trials.glob("*") if path.name.isdigit()}
    ends = [end for n in sorted(folders | set(study)) if (end := _end(run, n, study.get(n)))]

    def when(end: TrialEnd) -> tuple[float, int]:
        known = study.get(end.trial_id)
        if known is not None and known.ended is not None:
            return known.ended.timestamp(), end.trial_id
        files = list(run.trial_dir(end.trial_id).glob("*.json"))
        return max((f.stat().st_mtime for f in files), default=0.0), end.trial_id

    return tuple(sorted(ends, key=when))


def _end(run: RunFolder, number: int, known: StudyTrial | None) -> TrialEnd | None:
    """None for a trial that is under way."""
    end = read_end(run, number)
    if end is None and known is not None and known.state == "FAIL":
        end = TrialEnd.failed(number, known.reason or "no reason recorded")
    if end is None or known is None:
        return end
    if end.status == "finished" and known.free:
        return replace(end, seconds=0.0, cpu_s=0.0)  # taken over from another sweep
    return replace(end, seconds=known.seconds()) if end.status == "failed" else end
