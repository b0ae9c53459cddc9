"""Which searched fields matter for which objective: fANOVA, with how sure it is.

fANOVA (Hutter et al., 2014) fits a random forest to the trials and takes apart the variance of its
predictions over the whole space: a field's share is what it explains alone. The forest is random,
so it is fitted with several seeds and the spread is shown. Optuna's fANOVA needs scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sparsefront.search.reports.charts.on_page import MARGIN
from sparsefront.search.reports.charts.on_page import title as title_at
from sparsefront.search.reports.charts.on_paper import COLUMNS, blank
from sparsefront.search.reports.charts.style import BLUE, PAPER, short_names
from sparsefront.search.reports.sweep_view import SweepView

NAME, HEADING = "importance", "Which fields matter"
READING = (
    "The share of an objective's variance over the whole search space that a field explains alone "
    "(fANOVA on the finished trials); thin bars show how far the answer moves between fits. With "
    "few trials, or where the search moved fields together, take the order as a hint only."
)
FEWEST, MOST, SEEDS, TREES = 6, 150, 3, 32
MOST_BARS = 12


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Of each field for one objective: mean share in 0..1 and its standard deviation over seeds,
    by falling mean.
    """

    objective: str
    shares: Mapping[str, float]
    spread: Mapping[str, float]


@lru_cache(maxsize=2)  # for the page and the picture
def importances(view: SweepView) -> list[Importance]:
    """One an objective; none where there are too few trials or nothing varies."""
    import optuna

    trials = [t for t in view.trials if _known(view, t.trial_id)]
    trials = trials[:: max(1, math.ceil(len(trials) / MOST))]  # the forest's time grows with them
    if view.sweep is None or len(trials) < FEWEST or len(view.sweep.space) < 2:
        return []
    distributions = _distributions(view)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * len(view.front.objectives))
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=_encoded(view, t.trial_id), distributions=distributions,
                values=[o.function(t.result) for o in view.front.objectives],
            )
            for t in trials
        ]
    )  # fmt: skip
    return [_of(study, at, o.name) for at, o in enumerate(view.front.objectives)]


def pages(view: SweepView) -> list[Any]:
    found = importances(view)
    return [_page(one, _upto(found)) for one in found]


def picture(view: SweepView) -> Any:
    found = importances(view)
    if not found:
        return None
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    bars = min(MOST_BARS, max(len(f.shares) for f in found))
    figure = blank(max(7.0, 4.5 * columns), rows * (1.2 + 0.3 * bars) + 0.6)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, one in zip(axes, found, strict=False):
        _draw(axis, one, _upto(found))
    for axis in axes[len(found) :]:
        axis.remove()
    figure.suptitle(f"{view.name}: {title(found)}", fontsize=14, color=PAPER["ink"])
    return figure


def title(found: list[Importance]) -> str:
    """What one sees: the field that matters most for each objective."""
    firsts = {one.objective: next(iter(short_names(one.shares).values())) for one in found}
    if len(set(firsts.values())) == 1:
        return f"{next(iter(firsts.values()))} matters most for {', '.join(firsts)}"
    return ", ".join(f"{field} matters most for {name}" for name, field in firsts.items())


def _of(study: Any, at: int, name: str) -> Importance:
    from optuna.importance import FanovaImportanceEvaluator

    values = {trial.values[at] for trial in study.get_trials(deepcopy=False)}
    fields = list(study.get_trials(deepcopy=False)[0].params)
    if len(values) < 2:
        return Importance(objective=name, shares=dict.fromkeys(fields, 0.0), spread={})
    fits = [
        FanovaImportanceEvaluator(n_trees=TREES, seed=seed).evaluate(
            study, target=lambda trial: float(trial.values[at])
        )
        for seed in range(SEEDS)
    ]
    table = np.array([[fit[field] for field in fields] for fit in fits])
    order = np.argsort(-table.mean(0), kind="stable")
    return Importance(
        objective=name, shares={fields[i]: float(table[:, i].mean()) for i in order},
        spread={fields[i]: float(table[:, i].std()) for i in order},
    )  # fmt: skip


def _known(view: SweepView, number: int) -> bool:
    """Whether all searched fields of a trial are known, and where the space has them."""
    from sparsefront.search.optimizer.for_sweep import is_allowed

    values, sweep = view.values.get(number, {}), view.sweep
    return sweep is not None and all(
        name in values and is_allowed(sweep, name, values[name]) for name in sweep.space
    )


def _encoded(view: SweepView, number: int) -> dict[str, Any]:
    from sparsefront.search.optimizer.distributions import encode

    assert view.sweep is not None
    return {name: encode(view.values[number][name]) for name in view.sweep.space}


def _distributions(view: SweepView) -> dict[str, Any]:
    from sparsefront.search.optimizer.distributions import distributions
    from sparsefront.search.optimizer.for_sweep import integers

    assert view.sweep is not None
    return dict(distributions(view.sweep.space, integers(view.sweep)))


def _bars(found: Importance) -> tuple[list[str], list[float], list[float]]:
    """Names, percent and spread of the first ones, the largest first."""
    short = short_names(found.shares)
    names = list(found.shares)[:MOST_BARS]
    return (
        [short[n] for n in names],
        [100 * found.shares[n] for n in names],
        [100 * found.spread.get(n, 0.0) for n in names],
    )


def _upto(found: list[Importance]) -> float:
    """One end of the axis for all objectives, in steps of ten percent."""
    most = max((m + s for one in found for m, s in zip(*_bars(one)[1:], strict=True)), default=0.0)
    return min(100.0, 10.0 * math.ceil(most / 10 + 0.3))


def _page(found: Importance, upto: float) -> Any:
    from plotly.graph_objects import Bar, Figure

    names, percent, spread = _bars(found)
    bars = Bar(
        x=percent, y=names, orientation="h", marker={"color": BLUE},
        error_x={"type": "data", "array": spread, "thickness": 1.5, "width": 4},
        hovertemplate="%{y}: %{x:.0f} %<extra></extra>",
    )  # fmt: skip
    figure = Figure(bars, layout={"template": "none"})
    figure.update_layout(
        title=title_at(f"for {found.objective}"),
        height=120 + 30 * len(names), margin={**MARGIN, "b": 50}, showlegend=False,
        xaxis={
            "title": {"text": "variance explained alone, %", "font": {"size": 13}},
            "range": [0, upto],
        },
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
    )  # fmt: skip
    return figure


def _draw(axis: Any, found: Importance, upto: float) -> None:
    names, percent, spread = _bars(found)
    axis.barh(names, percent, xerr=spread, color=BLUE, height=0.62, error_kw={"lw": 1.2})
    axis.invert_yaxis()
    axis.set_xlim(0, upto)
    axis.set_xlabel("variance explained alone, %", fontsize=10)
    axis.set_title(f"for {found.objective}", fontsize=11, loc="left", color=PAPER["ink"])
    axis.grid(axis="x", color=PAPER["grid"], lw=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)
