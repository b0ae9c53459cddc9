"""Thresholds of the nuScenes tracking score, metrics at each, and what is reported of them (Weng et
al., IROS 2020, with nuScenes' changes).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sparsefront.scenes.scoring.box_table import Floats
from sparsefront.scenes.scoring.tracking_events import Events, TrackTimes

METRICS = (
    "amota", "amotp", "recall", "motar", "gt", "mota", "motp", "mt", "ml", "faf", "tp", "fp", "fn",
    "ids", "frag", "tid", "lgd",
)  # fmt: skip
AVERAGED = {"amota": "motar", "amotp": "motp"}
SUMMED = ("mt", "ml", "tp", "fp", "fn", "ids", "frag")
"""Metrics whose overall value is the sum over classes; of the others it is the mean."""
FRAME_S = 0.5
"""Time between keyframes of nuScenes."""
MOSTLY_TRACKED, MOSTLY_LOST = 0.8, 0.2


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """The official settings (tracking_nips_2019). worst: what stands for a recall not reached."""

    distance_m: float = 2.0
    min_recall: float = 0.1
    num_thresholds: int = 40
    worst: dict[str, float] = field(
        default_factory=lambda: {
            "amota": 0.0, "amotp": 2.0, "recall": 0.0, "motar": 0.0, "mota": 0.0, "motp": 2.0,
            "mt": 0.0, "faf": 500.0, "tp": 0.0, "tid": 20.0, "lgd": 20.0,
        }
    )  # fmt: skip


def thresholds(scores: Floats, labels: int, config: TrackingConfig) -> Floats:
    """Score at which each recall is reached, from recall 1 down to the least; NaN where it is not.
    scores are those of all matches.
    """
    if len(scores) == 0:
        return np.full(config.num_thresholds, np.nan)
    best_first = np.sort(scores)[::-1]
    reached = np.arange(1, len(scores) + 1) / labels
    recalls = np.linspace(config.min_recall, 1, config.num_thresholds).round(12)
    found = np.interp(recalls, reached, best_first, right=0)
    found[recalls > reached[-1]] = np.nan
    return found[::-1]


def metrics_at(events: Events, times: TrackTimes) -> dict[str, float]:
    """Every metric but the averaged ones, at one threshold."""
    labels = len(events.kind)
    misses, matches, switches = np.bincount(events.kind, minlength=3).tolist()
    wrong = misses + switches + events.false_positives
    found = matches + switches
    share = times.found / times.life
    several = int((times.found > 0).sum())
    return {
        "gt": labels, "tp": matches, "fp": events.false_positives, "fn": misses, "ids": switches,
        "frag": int(times.fragments.sum()), "recall": found / labels,
        "motar": _motar(matches, wrong, labels), "mota": max(0.0, 1.0 - wrong / labels),
        "motp": events.distance / found if found else np.nan,
        "faf": events.false_positives / events.frames * 100,
        "mt": int((share >= MOSTLY_TRACKED).sum()), "ml": int((share < MOSTLY_LOST).sum()),
        "tid": FRAME_S * float(times.late.sum()) / several if several else np.nan,
        "lgd": FRAME_S * float(times.gap.sum()) / several if several else np.nan,
    }  # fmt: skip


def _motar(matches: int, wrong: int, labels: int) -> float:
    """MOTA at a recall; the recall leaves switches out."""
    recall = matches / labels
    if recall * labels == 0:
        return np.nan
    return float(max(0.0, 1 - (wrong - (1 - recall) * labels) / (recall * labels)))


def unreached_metrics(labels: int, tracks: int, config: TrackingConfig) -> dict[str, float]:
    """The metrics of a class of which not even the least recall is reached."""
    unknown = dict.fromkeys(("fp", "ids", "frag"), np.nan)
    return {**config.worst, **unknown, "ml": tracks, "gt": labels, "fn": labels}


def summarise(curve: list[dict[str, float]], config: TrackingConfig) -> dict[str, float]:
    """Reduces the metrics at each threshold to one value each: AMOTA and AMOTP are averages, the
    others are those where MOTA is best (at the highest recall of equal ones).
    """
    curves = {name: np.array([at[name] for at in curve]) for name in curve[0]}
    mota = curves["mota"]
    best = int(np.nanargmax(mota)) if not np.isnan(mota).all() else None
    found = {name: np.nan if best is None else float(v[best]) for name, v in curves.items()}
    for name, of in AVERAGED.items():
        values = curves[of]
        worst = np.where(np.isnan(values), config.worst[name], values)
        found[name] = np.nan if np.isnan(values).all() else float(np.mean(worst))
    return {name: found[name] for name in METRICS}


def over_classes(values: Floats, name: str) -> float:
    """Sum or mean over the classes whose value of a metric is known."""
    known = values[~np.isnan(values)]
    if name in SUMMED:
        return float(known.sum())
    return float(known.mean()) if len(known) else np.nan
