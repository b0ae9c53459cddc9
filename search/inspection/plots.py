"""The front as a picture (PNG, matplotlib) and as a page (HTML, plotly with its script inside)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from search.front import ParetoFront
from search.run_store import StoredTrial
from search.tasks import quality

COST = "GFLOPs"
MODALITY_COLOURS = ("#2563eb", "#ea580c", "#6b7280", "#059669")


def save_front(front: ParetoFront, path: Path, marked: StoredTrial | None = None) -> None:
    """Writes PATH, .png or .html by its suffix; `marked` (default: the knee) gets a ring."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    if marked is None and front.points:
        marked = front.knee()
    if path.suffix == ".png":
        _save_picture(front, marked, temporary)
    elif path.suffix == ".html":
        _save_page(front, marked, temporary)
    else:
        raise ValueError(f"plot: value {str(path)!r}; allowed: a name ending in .png or .html")
    os.replace(temporary, path)


def _save_picture(front: ParetoFront, marked: StoredTrial | None, path: Path) -> None:
    from matplotlib.figure import Figure

    metrics = _metrics(front)
    figure = Figure(figsize=(4.2 * (len(metrics) + 1), 4.0), layout="constrained")
    axes: Any = figure.subplots(1, len(metrics) + 1, squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=False):
        _draw_metric(axis, front, metric, marked)
    _draw_sparsity(axes[-1], front)
    axes[0].legend(loc="lower right", fontsize=8)
    figure.suptitle(f"{front.name}: hypervolume {front.hypervolume:.3f}", fontsize=11)
    figure.savefig(path, dpi=130)


def _draw_metric(axis: Any, front: ParetoFront, metric: str, marked: StoredTrial | None) -> None:
    axis.scatter(*_pairs(front.others, metric), s=16, color="#cbd5e1", label="dominated")
    axis.plot(*_pairs(front.points, metric), "o", ms=6, color="#1d4ed8", label="front")
    for point in front.points:
        place = (point.result.metrics[COST], point.result.metrics[metric])
        axis.annotate(str(point.trial_id), place, (4, 4), textcoords="offset points", fontsize=7)
    if marked is not None:
        axis.scatter(
            *_pairs((marked,), metric), s=150, facecolors="none", edgecolors="#dc2626",
            linewidths=1.8, label=f"trial {marked.trial_id}",
        )  # fmt: skip
    for dense in {2 * t.result.metrics["GMACs_dense"] for t in front.points}:
        axis.axvline(dense, ls=":", lw=1, color="#334155", label="dense model")
    axis.set_xlabel("GFLOPs a frame, theoretical (2 x MACs)")
    axis.set_ylabel(metric)
    axis.grid(alpha=0.25)


def _draw_sparsity(axis: Any, front: ParetoFront) -> None:
    """Sparsity of each modality along the front."""
    for colour, modality in zip(MODALITY_COLOURS, _modalities(front), strict=False):
        cost = [p.result.metrics[COST] for p in front.points]
        removed = [100 * p.result.per_modality_sparsity[modality] for p in front.points]
        axis.plot(cost, removed, "o-", ms=4, lw=1, color=colour, label=modality)
    axis.set_xlabel("GFLOPs a frame, theoretical (2 x MACs)")
    axis.set_ylabel("weights removed, %")
    axis.set_ylim(-3, 103)
    axis.grid(alpha=0.25)
    if front.points:
        axis.legend(fontsize=8)


def _save_page(front: ParetoFront, marked: StoredTrial | None, path: Path) -> None:
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for metric in _metrics(front):
        groups = (("dominated", front.others), ("front", front.points))
        for label, trials in groups:
            x, y = _pairs(trials, metric)
            figure.add_trace(
                Scatter(
                    x=x, y=y, mode="markers", name=f"{metric}, {label}",
                    text=[_hover(t) for t in trials], hoverinfo="text",
                    opacity=1.0 if label == "front" else 0.35,
                )
            )  # fmt: skip
    if marked is not None:
        metric = _metrics(front)[0]
        x, y = _pairs((marked,), metric)
        ring = {"size": 18, "symbol": "circle-open", "color": "#dc2626", "line": {"width": 2}}
        figure.add_trace(Scatter(x=x, y=y, mode="markers", name="knee", marker=ring))
    figure.update_layout(
        title=f"{front.name}: hypervolume {front.hypervolume:.3f}",
        xaxis_title="GFLOPs a frame, theoretical (2 x MACs)",
        yaxis_title=" / ".join(_metrics(front)),
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)


def _hover(trial: StoredTrial) -> str:
    metrics = trial.result.metrics
    lines = [f"trial {trial.trial_id}"]
    lines += [f"{name} {metrics[name]:.4f}" for name in [*quality(metrics), COST]]
    lines += [f"{m} {v:.1%} removed" for m, v in trial.result.per_modality_sparsity.items()]
    return "<br>".join(lines)


def _metrics(front: ParetoFront) -> list[str]:
    """What goes on the y axes: every objective but the cost, or the task's first metric."""
    found = [o.name for o in front.objectives if o.name != COST]
    if found:
        return found
    trials = (*front.points, *front.others)
    return quality(trials[0].result.metrics)[:1] if trials else []


def _modalities(front: ParetoFront) -> list[str]:
    return list(front.points[0].result.per_modality_sparsity) if front.points else []


def _pairs(trials: tuple[StoredTrial, ...], metric: str) -> tuple[list[float], list[float]]:
    return (
        [t.result.metrics[COST] for t in trials],
        [t.result.metrics[metric] for t in trials],
    )
