"""The report of one sweep: what it was, its front as a table, all charts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sparsefront.search.config.space import Range
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.reports.charts import CHARTS, Chart
from sparsefront.search.reports.charts.hover import text_of
from sparsefront.search.reports.charts.hypervolume import time_unit
from sparsefront.search.reports.pages.document import (
    Section,
    definitions,
    document,
    paragraph,
    table,
)
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import format_value

GFLOPS = (
    "GFLOPs are theoretical: 2 x the MACs of the weights that stay, for one frame. Sparsity is the "
    "share of prunable weights that are removed."
)
MOST_REASONS = 12


def chart_page(view: SweepView, chart: Chart) -> str | None:
    """A page with one chart; None where the chart does not apply to this sweep."""
    figures = chart.pages(view)
    if not figures:
        return None
    body = paragraph(chart.reading, "reading")
    return document(
        f"{view.name}: {chart.heading}", lead_of(view),
        [Section(heading=chart.heading, body=body, figures=figures)],
    )  # fmt: skip


def sweep_page(view: SweepView, charts: Sequence[Chart] = CHARTS) -> str:
    """Everything about a sweep on one page."""
    sections = [
        Section(heading="The front as a table", body=front_table(view)),
        *(section for chart in charts if (section := _chart(view, chart)).figures),
        Section(heading="What the sweep was", body=_what(view)),
        Section(heading="How its trials ended", body=_ends(view)),
    ]
    return document(f"{view.name}: {_names(view)}", lead_of(view), sections)


def lead_of(view: SweepView) -> str:
    """The sweep in one sentence."""
    front = view.front
    knee = view.ringed()
    at = "" if knee is None else f" The knee is trial {knee.trial_id}."
    return (
        f"{len(front.points)} of {len(view.trials)} finished trials are on the Pareto front; "
        f"hypervolume {front.hypervolume:.4f} of 1.{at}"
    )


def front_table(view: SweepView) -> str:
    """The front's points, dense to sparse, the ringed one marked."""
    points, ringed = view.front.points, view.ringed()
    modalities = list(points[0].result.per_modality_sparsity) if points else []
    names = [o.name for o in view.front.objectives]
    costs = [] if "GFLOPs" in names else ["GFLOPs"]
    head = ["trial", *names, *costs, "removed", *modalities, "note"]
    rows = [] if view.front.dense is None else [_dense_row(view, names + costs, modalities)]
    for point in points:
        metrics, removed = point.result.metrics, point.result.per_modality_sparsity
        shares = [metrics["sparsity"], *(removed[m] for m in modalities)]
        is_ringed = ringed is not None and point.trial_id == ringed.trial_id
        notes = ["knee"] if is_ringed else []
        notes += [view.baselines[point.trial_id]] if point.trial_id in view.baselines else []
        values = [format_value(o.function(point.result)) for o in view.front.objectives]
        values += [format_value(metrics[name]) for name in costs]
        rows.append(
            [str(point.trial_id), *values, *(f"{100 * s:.1f} %" for s in shares), ", ".join(notes)]
        )
    marked = frozenset(at for at, row in enumerate(rows) if "knee" in row[-1])
    return table(
        "Dense to sparse; weights removed in all and of each modality", head, rows, marked
    ) + paragraph(GFLOPS, "reading")


def _dense_row(view: SweepView, names: list[str], modalities: list[str]) -> list[str]:
    dense = view.front.dense
    assert dense is not None
    values = [format_value(dense.metrics[n]) if n in dense.metrics else "" for n in names]
    return ["dense", *values, *("0.0 %" for _ in range(len(modalities) + 1)), "before pruning"]


def _chart(view: SweepView, chart: Chart) -> Section:
    return Section(
        heading=chart.heading, body=paragraph(chart.reading, "reading"), figures=chart.pages(view)
    )


def _names(view: SweepView) -> str:
    *most, last = [o.name for o in view.front.objectives]
    return f"{', '.join(most)} and {last}" if most else last


def _what(view: SweepView) -> str:
    sweep = view.sweep
    if sweep is None:
        return ""
    objectives = ", ".join(f"{o.name} ({o.direction})" for o in view.front.objectives)
    bounds = [
        f"{name} {sign} {value:g}"
        for name, bound in sweep.constraints.items()
        for sign, value in (("at least", bound.min), ("at most", bound.max))
        if value is not None
    ]
    trial = sweep.trial.to_dict()
    tuning = sweep.trial.fine_tune
    rows = [
        ("objectives", objectives),
        ("constraints", ", ".join(bounds) or "none"),
        ("model", str((trial["model"] or trial["task"]).get("name", ""))),
        ("weights go by", ", ".join(f"{k} {v}" for k, v in trial["criterion"].items())),
        ("pattern", sweep.trial.allocation.pattern),
        ("fine-tuning", f"{tuning.steps} steps of {_batch(sweep.trial)}"),
        ("sampler", f"{sweep.sampler}, seed {sweep.seed}"),
        ("trials requested", str(sweep.trials)),
    ]
    fields = [
        (name, f"{d.low:g} to {d.high:g}{', log' if d.log else ''}")
        if isinstance(d, Range)
        else (name, ", ".join(text_of(choice) for choice in d.choices))
        for name, d in sweep.space.items()
    ]
    space = table("What was searched", ["field", "values"], fields, words=frozenset({"values"}))
    return definitions(rows) + space


def _batch(trial: TrialSpec) -> str:
    if trial.task is not None:
        return "a batch of the task"
    return f"{trial.fine_tune.batch_size} frames"


def _ends(view: SweepView) -> str:
    spent = sum(end.seconds for end in view.ends)
    factor, unit = time_unit(spent)
    rows = [
        ("finished", str(view.count("finished"))),
        ("stopped early", str(view.count("stopped"))),
        ("failed", str(view.count("failed"))),
        ("under way", str(view.underway)),
        ("time of all trials", f"{spent * factor:.1f} {unit}"),
    ]
    reasons: dict[tuple[str, str], list[int]] = defaultdict(list)
    for end in view.ends:
        if end.reason:
            reasons[end.status, _shortened(end.reason)].append(end.trial_id)
    text = definitions(rows)
    if reasons:
        lines = sorted(reasons.items(), key=lambda item: -len(item[1]))
        cells = [[how, _ids(ids), reason] for (how, reason), ids in lines[:MOST_REASONS]]
        caption = "Why trials ended early"
        if len(lines) > MOST_REASONS:
            caption += f" (the {MOST_REASONS} most frequent of {len(lines)} reasons)"
        words = frozenset({"trials", "reason"})
        text += table(caption, ["", "trials", "reason"], cells, words=words)
    return text


def _ids(ids: list[int]) -> str:
    few = ", ".join(map(str, ids[:8]))
    return few if len(ids) <= 8 else f"{few} and {len(ids) - 8} more"


def _shortened(reason: str) -> str:
    return " ".join(reason.split())[:200]
