"""What is said of a trial when one points at it."""

from __future__ import annotations

from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.reports.charts.style import short_names
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import format_value
from sparsefront.search.runs.trial_reader import StoredTrial

MOST_FIELDS = 14


def hover(view: SweepView, trial: StoredTrial) -> str:
    """The trial, its objectives, what is removed of each modality, the searched values."""
    result = trial.result
    names = {o.name: o for o in view.front.objectives} | {"GFLOPs": OBJECTIVES["GFLOPs"]}
    head = f"<b>trial {trial.trial_id}</b>"
    if label := view.baselines.get(trial.trial_id):
        head += f" ({label})"
    lines = [head, *(f"{name} {format_value(o.function(result))}" for name, o in names.items())]
    removed = ", ".join(f"{m} {share:.0%}" for m, share in result.per_modality_sparsity.items())
    lines.append(f"removed: {removed}")
    return "<br>".join([*lines, *_values(view, trial.trial_id)])


def _values(view: SweepView, number: int) -> list[str]:
    values = view.values.get(number, {})
    short = short_names(values)
    lines = [f"{short[name]}: {text_of(value)}" for name, value in values.items()]
    if len(lines) > MOST_FIELDS:
        lines = [*lines[:MOST_FIELDS], f"and {len(lines) - MOST_FIELDS} more"]
    return lines


def text_of(value: object) -> str:
    """A searched value in a few characters."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return str(value.get("name", value))[:40]
    return str(value)[:40]
