"""A sweep as one looks at it: its front, and how every one of its trials came about and ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from search.front import ParetoFront, pareto_front
from search.inspection.study import Asked, read_asked
from search.objectives import Bound, feasible
from search.proposals.for_sweep import first_of, ladder
from search.proposals.prediction import Agreement
from search.runs.run_store import (
    RunFolder,
    StoredTrial,
    read_failure,
    read_finished,
    read_json,
    read_stopped,
    run_folder,
)
from search.space import Value, value_of
from search.sweep_file import Sweep, read_sweep

How = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial that has ended: what it took on the clock and of the CPU, and why it ended early."""

    trial_id: int
    how: How
    seconds: float
    cpu_s: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepView:
    """What charts and pages draw.

    values     trial id -> value of each searched field, as far as known
    baselines  trial id -> what had it tried before any proposal: uniform, ERK, papers
    endings    every trial that ended, in that order
    underway   number of trials asked for that have not ended
    agreement  quality -> how far its predicted loss turned out right, once the sweep is complete
    marked     the trial with a ring; None: the knee
    """

    front: ParetoFront
    sweep: Sweep | None = None
    values: Mapping[int, Mapping[str, Value]] = field(default_factory=dict)
    baselines: Mapping[int, str] = field(default_factory=dict)
    endings: tuple[Ended, ...] = ()
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

    def count(self, how: How) -> int:
        return sum(ended.how == how for ended in self.endings)


def read_view(name: str, out: str | Path) -> SweepView:
    """A sweep as its folder stands, finished or not; `out`: a path or a URI. ValueError naming the
    sweeps there are.
    """
    return view_of(run_folder(out, name).require().pulled())


def view_of(run: RunFolder) -> SweepView:
    """The same of what is on this machine."""
    sweep = read_sweep(run.sweep_file)
    trials = read_finished(run)
    asked = read_asked(sweep, run)
    values = {t.trial_id: _values(sweep, t, asked.get(t.trial_id)) for t in trials}
    return SweepView(
        front=pareto_front(sweep, run.name, trials),
        sweep=sweep,
        values=values,
        baselines=baselines_of(sweep, values, asked),
        endings=_endings(run, trials, asked),
        underway=sum(a.state == "RUNNING" for a in asked.values()),
        agreement=_agreement(run),
    )


def _agreement(run: RunFolder) -> dict[str, Agreement]:
    found = read_json(run.agreement_file) if run.agreement_file.is_file() else {}
    return {name: Agreement(**values) for name, values in found.items()}


def require_finished(view: SweepView) -> None:
    """ValueError in one line where there is nothing to draw yet."""
    if not view.trials:
        failed, stopped = view.count("failed"), view.count("stopped")
        raise ValueError(
            f"sweep {view.name!r}: no finished trial yet ({failed} failed, {stopped} stopped, "
            f"{view.underway} under way); allowed: a sweep with at least one finished trial"
        )


def baselines_of(
    sweep: Sweep,
    values: Mapping[int, Mapping[str, Value]],
    asked: Mapping[int, Asked],
) -> dict[int, str]:
    """Trials that were tried before any proposal: uniform ones known by their values, others by
    what the optimizer stored of them.
    """
    found = {n: a.baseline for n, a in asked.items() if a.baseline is not None}
    rungs = ladder(sweep) if "uniform" in first_of(sweep) else []
    for number, own in values.items():
        if any(_same(own, rung) for rung in rungs):
            found[number] = "uniform"
    return {number: label for number, label in found.items() if number in values}


def _same(own: Mapping[str, Value], rung: Mapping[str, Value]) -> bool:
    return all(_equal(own.get(name), value) for name, value in rung.items())


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, abs_tol=1e-9)
    return one == other


def _values(sweep: Sweep, trial: StoredTrial, asked: Asked | None) -> dict[str, Value]:
    """As Optuna was asked; where that is unknown, as the trial itself was."""
    if asked is not None and asked.values:
        return dict(asked.values)
    found: dict[str, Value] = {}
    for name in sweep.space:
        try:
            found[name] = value_of(trial.asked, name)
        except (AssertionError, ValueError):  # a trade-off that earlier versions did not keep
            continue
    return found


def _endings(
    run: RunFolder, trials: list[StoredTrial], asked: Mapping[int, Asked]
) -> tuple[Ended, ...]:
    """By the time that Optuna was told, else by the time of the trial's last file."""
    found = [_finished(t, asked.get(t.trial_id)) for t in trials]
    known = {ended.trial_id for ended in found}
    folders = (int(p.name) for p in run.trials.glob("*") if p.name.isdigit())
    for number in sorted({*folders, *asked} - known):
        if ended := _unfinished(run, number, asked.get(number)):
            found.append(ended)

    def when(ended: Ended) -> tuple[float, int]:
        told = asked.get(ended.trial_id)
        if told is not None and told.ended is not None:
            return told.ended.timestamp(), ended.trial_id
        files = list(run.trial_dir(ended.trial_id).glob("*.json"))
        return max((f.stat().st_mtime for f in files), default=0.0), ended.trial_id

    return tuple(sorted(found, key=when))


def _finished(trial: StoredTrial, asked: Asked | None) -> Ended:
    """One taken over from an earlier sweep took nothing here."""
    spent = {} if asked is not None and asked.free else trial.result.timings
    return Ended(
        trial_id=trial.trial_id, how="finished", seconds=spent.get("total_s", 0.0),
        cpu_s=spent.get("cpu_s", 0.0),
    )  # fmt: skip


def _unfinished(run: RunFolder, number: int, asked: Asked | None) -> Ended | None:
    """A stopped or failed trial; None for one that is under way."""
    if stop := read_stopped(run, number):
        spent = stop.looks[-1] if stop.looks else {}
        return Ended(
            trial_id=number, how="stopped", seconds=float(spent.get("total_s", 0.0)),
            cpu_s=float(spent.get("cpu_s", 0.0)), reason=stop.reason,
        )  # fmt: skip
    reason = read_failure(run, number)
    if reason is None and (asked is None or asked.state != "FAIL"):
        return None
    seconds = 0.0 if asked is None else asked.seconds()
    text = reason or (asked.reason if asked is not None else None) or "no reason recorded"
    return Ended(trial_id=number, how="failed", seconds=seconds, cpu_s=0.0, reason=text)
