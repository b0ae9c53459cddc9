"""The Pareto front of a sweep: non-dominated trials, hypervolume, knee, and picking one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moocore
import numpy as np

from sparsefront.errors import InputError
from sparsefront.search.config.goals import read_goals
from sparsefront.search.config.objectives import Bound, Objective, feasible, known_objectives
from sparsefront.search.config.task import Metric
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.runs.dense_file import read_dense
from sparsefront.search.runs.run_folder import RUNS, RunFolder, run_folder
from sparsefront.search.runs.trial_reader import StoredTrial, read_finished

if TYPE_CHECKING:
    import pandas as pd

TERM = re.compile(r"\s*(\w+)\s*(<=|>=)\s*([-+.\deE]+)\s*")


@dataclass(frozen=True, kw_only=True)
class ParetoFront:
    """All finished trials of a sweep and which of them no other beats.

    points       non-dominated trials within the constraints, dense to sparse
    others       the remaining finished trials, by id
    dense        what the dense model measured; None where it has not been
    run          the folder that it was read from
    hypervolume  share in 0..1 of the box from each objective's worst to its best possible value
                 (1 for shares, 0 for costs; worst: 0, 2 m for AMOTP, the dense model's cost, the
                 largest where the trials' dense models differ)
    """

    name: str
    objectives: tuple[Objective, ...]
    points: tuple[StoredTrial, ...]
    others: tuple[StoredTrial, ...]
    hypervolume: float
    dense: TrialResult | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    run: RunFolder | None = None

    @property
    def known(self) -> dict[str, Objective]:
        """All objectives that a trial of this sweep may have, by name."""
        return known_objectives(self.metrics)

    def knee(self) -> StoredTrial:
        """The point closest to the ideal one, each objective scaled to the front's own range."""
        self._require_points()
        gains = _gains(self.points, self.objectives)
        low, high = gains.min(0), gains.max(0)
        scaled = (high - gains) / np.where(high > low, high - low, 1.0)
        return self.points[int(np.argmin((scaled**2).sum(1)))]

    def pick(self, text: str) -> StoredTrial:
        """knee | best:METRIC | trial:ID | max:METRIC,METRIC<=X,... | min:METRIC,METRIC>=X,...

        best, max and min look at the front; trial:ID takes any finished trial. InputError in one
        line for anything else, or where no point fits.
        """
        kind, _, rest = text.partition(":")
        if text == "knee":
            return self.knee()
        if kind == "trial":
            return self._trial(text, rest)
        if kind == "best" and rest in self.known:
            objective = self.known[rest]
            return self._extreme(text, rest, objective.direction, [])
        if kind in ("max", "min"):
            metric, *terms = rest.split(",")
            return self._extreme(text, metric.strip(), kind, terms)
        raise InputError(
            f"--pick: value {text!r}; allowed: knee, best:{{{','.join(self._measured())}}}, "
            "trial:ID, "
            f"'{self.objectives[0].direction}:{self.objectives[0].name},GFLOPs<=X'"
        )

    def _measured(self) -> list[str]:
        """Names of objectives that the sweep's trials have."""
        trials = (*self.points, *self.others)
        return [n for n in self.known if not trials or n in trials[0].result.metrics]

    def table(self) -> str:
        """The front as text: the dense model, then one line a point."""
        modalities = sorted({m for p in self.points for m in p.result.per_modality_sparsity})
        names = [*(o.name for o in self.objectives), "sparsity", *modalities]
        widths = [max(8, len(name)) for name in names]
        lines = [f"{'trial':>5}" + _cells(names, widths)]
        if self.dense is not None:
            cells = [format_value(o.function(self.dense)) for o in self.objectives]
            shares = [0.0] * (len(modalities) + 1)
            lines.append("dense" + _cells([*cells, *(f"{s:.1%}" for s in shares)], widths))
        knee = self.knee().trial_id if self.points else None
        for point in self.points:
            removed = point.result.per_modality_sparsity
            shares = [point.result.metrics["sparsity"], *(removed[m] for m in modalities)]
            cells = [format_value(o.function(point.result)) for o in self.objectives]
            line = f"{point.trial_id:>5}" + _cells([*cells, *(f"{s:.1%}" for s in shares)], widths)
            lines.append(line + ("  knee" if point.trial_id == knee else ""))
        tried = len(self.points) + len(self.others)
        lines.append(
            f"{len(self.points)} of {tried} trials on the front, hypervolume {self.hypervolume:.4f}"
        )
        return "\n".join(lines)

    def plot(self, path: str | Path | None = None) -> Any:
        """The front as a matplotlib figure, which a notebook shows; saved as well where a path
        (.png, .pdf, .html) is given.
        """
        drawn = import_module("sparsefront.search.reports.front_picture")  # it stands above us
        figure = drawn.figure_of(self)
        if path is not None and Path(path).suffix == ".html":
            drawn.save_front(self, Path(path))
        elif path is not None:
            figure.savefig(path, bbox_inches="tight")
        return figure

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every point with all of its metrics, in the order of the table."""
        return {
            "name": self.name,
            "objectives": {o.name: o.direction for o in self.objectives},
            "hypervolume": self.hypervolume,
            "dense": None if self.dense is None else self.dense.metrics,
            "knee": self.knee().trial_id if self.points else None,
            "points": [_point(p) for p in self.points],
            "others": [_point(p) for p in self.others],
        }

    def to_pandas(self) -> pd.DataFrame:
        """A row a finished trial, the front first: its id, whether it is on the front, every metric
        and the sparsity of each modality (sparsity.camera).
        """
        import pandas as pd

        rows = [
            {
                "trial": trial.trial_id, "front": number < len(self.points), **trial.result.metrics,
                **{f"sparsity.{m}": s for m, s in trial.result.per_modality_sparsity.items()},
            }
            for number, trial in enumerate((*self.points, *self.others))
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _trial(self, text: str, rest: str) -> StoredTrial:
        known = {p.trial_id: p for p in (*self.points, *self.others)}
        if not rest.isdigit() or int(rest) not in known:
            ids = ", ".join(map(str, sorted(known))) or "none"
            raise InputError(f"--pick: value {text!r}; finished trials: {ids}")
        return known[int(rest)]

    def _extreme(self, text: str, metric: str, direction: str, terms: list[str]) -> StoredTrial:
        self._require_points()
        fitting = list(self.points)
        for term in terms:
            fitting = [p for p in fitting if _fits(p, term, text)]
        if not fitting:
            raise InputError(
                f"--pick: value {text!r}: no point of the front fits; on the front "
                f"{self._ranges(terms)}"
            )
        sign = 1 if direction == "max" else -1
        return max(fitting, key=lambda p: (sign * _value(p, metric, text), -p.trial_id))

    def _ranges(self, terms: list[str]) -> str:
        """What the metrics of the terms are on the front, in words."""
        shown_ranges = []
        for metric in dict.fromkeys(re.split("<=|>=", term)[0].strip() for term in terms):
            values = [p.result.metrics[metric] for p in self.points]
            shown_ranges.append(f"{metric} is {min(values):.6g} to {max(values):.6g}")
        return ", ".join(shown_ranges)

    def _require_points(self) -> None:
        if not self.points:
            raise InputError(f"sweep {self.name!r}: no finished trial is on the front yet")


def format_value(value: float) -> str:
    """A metric in at most eight characters: four places, or a power of ten where they would be 0;
    counts as whole numbers, large ones in millions.
    """
    if 0 < abs(value) < 0.01:
        return f"{value:.1e}"
    if abs(value) < 1000:
        return f"{value:.4f}"
    return f"{value:.0f}" if abs(value) < 1e8 else f"{value / 1e6:.1f}M"


def _cells(texts: list[str], widths: list[int]) -> str:
    return "".join(f"  {text:>{width}}" for text, width in zip(texts, widths, strict=True))


def pareto_front(
    name: str,
    trials: Sequence[StoredTrial],
    objective_names: Sequence[str],
    constraints: Mapping[str, Bound],
    dense: TrialResult | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> ParetoFront:
    """The front of the finished trials of the sweep `name`."""
    known = known_objectives(metrics or {})
    objectives = tuple(known[o] for o in objective_names)
    if dense is not None and not _measured_by(dense, objectives):
        dense = None  # written before one of them was measured
    allowed = [t for t in trials if feasible(t.result, constraints)]
    points: list[StoredTrial] = []
    volume = 0.0
    if allowed:
        losses = 1 - _gains(tuple(allowed), objectives)
        best = moocore.is_nondominated(losses, keep_weakly=True)
        points = [t for t, on_front in zip(allowed, best, strict=True) if on_front]
        volume = float(moocore.hypervolume(losses, ref=[1.0] * len(objectives)))
    ordered = sorted(points, key=lambda t: (-t.result.metrics["GFLOPs"], t.trial_id))
    ids = {p.trial_id for p in points}
    return ParetoFront(
        name=name,
        objectives=objectives,
        points=tuple(ordered),
        others=tuple(t for t in trials if t.trial_id not in ids),
        hypervolume=volume,
        dense=dense,
        metrics=metrics or {},
    )


def _measured_by(result: TrialResult, objectives: Sequence[Objective]) -> bool:
    try:
        return all(math.isfinite(o.function(result)) for o in objectives)
    except InputError:
        return False


def load_front(name: str | Path, runs: str | Path = RUNS) -> ParetoFront:
    """The front of a sweep as its folder stands, finished or not.

    name  of the sweep, or its folder or URI as a whole ("runs/demo")
    runs  the folder of all runs, a path or a URI
    InputError naming the sweeps there are, where this is none of them.
    """
    folder, name = _split(name, runs)
    return front_of(run_folder(folder, name).require().pull())


def _split(name: str | Path, runs: str | Path) -> tuple[str | Path, str]:
    """The folder of all runs and the sweep's name, of runs/demo as well as of demo."""
    parent, slash, last = str(name).rstrip("/").rpartition("/")
    return (parent or "/", last) if slash else (runs, str(name))


def front_of(run: RunFolder) -> ParetoFront:
    """The same of what is on this machine."""
    goals = read_goals(run.sweep_file)
    found = pareto_front(
        run.name,
        read_finished(run),
        goals.objectives,
        goals.constraints,
        read_dense(run),
        goals.metrics,
    )
    return replace(found, run=run)


def gains_of(front: ParetoFront) -> Any:
    """[trials, objectives] of all finished trials by id: 0 at the worst value of the whole sweep, 1
    at the best possible one.
    """
    trials = sorted((*front.points, *front.others), key=lambda t: t.trial_id)
    return _gains(tuple(trials), front.objectives)


def _gains(trials: tuple[StoredTrial, ...], objectives: tuple[Objective, ...]) -> Any:
    """[trials, objectives], 1 is the best possible; one worst value for all trials."""
    results = [t.result for t in trials]
    worst = [o.worst_of(results) for o in objectives]
    gains = [[o.gain(r, w) for o, w in zip(objectives, worst, strict=True)] for r in results]
    return np.array(gains, dtype=np.float64)


def _point(trial: StoredTrial) -> dict[str, Any]:
    return {
        "trial": trial.trial_id,
        "metrics": trial.result.metrics,
        "per_modality_sparsity": trial.result.per_modality_sparsity,
    }


def _value(trial: StoredTrial, metric: str, text: str) -> float:
    metrics = trial.result.metrics
    if metric not in metrics:
        raise InputError(
            f"--pick: value {text!r}: no metric {metric!r}; allowed: {', '.join(metrics)}"
        )
    return metrics[metric]


def _fits(trial: StoredTrial, term: str, text: str) -> bool:
    match = TERM.fullmatch(term)
    try:
        metric, sign, limit = match.group(1), match.group(2), float(match.group(3))  # type: ignore[union-attr]
    except (AttributeError, ValueError):
        raise InputError(
            f"--pick: value {text!r}: {term!r} is not a bound; allowed: METRIC<=X or METRIC>=X"
        ) from None
    value = _value(trial, metric, text)
    return value <= limit if sign == "<=" else value >= limit
