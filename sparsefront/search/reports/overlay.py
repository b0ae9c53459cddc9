"""Several sweeps over one another: their fronts on the same axes, their hypervolumes against one
reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np

from sparsefront.errors import InputError
from sparsefront.search.config.objectives import Objective
from sparsefront.search.reports.sweep_view import SweepView, require_finished


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """hypervolumes: of each sweep, in the box from the worst value over all of them to the best
    possible one. together: of all their fronts as if they were one.
    """

    views: tuple[SweepView, ...]
    hypervolumes: tuple[float, ...]
    together: float

    @property
    def name(self) -> str:
        return ", ".join(view.name for view in self.views)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.views[0].front.objectives

    def alone(self, at: int) -> int:
        """How many points of a sweep's front no other sweep beats."""
        return int(sum(self._unbeaten()[at]))

    def _unbeaten(self) -> list[list[bool]]:
        losses, sizes = _losses(self.views)
        if not len(losses):
            return [[] for _ in self.views]
        best = list(moocore.is_nondominated(losses, keep_weakly=True))
        ends = np.cumsum(sizes)
        return [best[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def overlay(views: Sequence[SweepView]) -> Overlay:
    """InputError where a sweep is named twice, has nothing finished, or other objectives."""
    first = views[0]
    wanted = [o.name for o in first.front.objectives]
    for at, view in enumerate(views):
        if view.name in [v.name for v in views[:at]]:
            raise InputError(f"front: sweep {view.name!r} is named twice; allowed: each sweep once")
        require_finished(view)
        names = [o.name for o in view.front.objectives]
        if names != wanted:
            raise InputError(
                f"front: sweep {view.name!r} has objectives {', '.join(names)}, {first.name!r} has "
                f"{', '.join(wanted)}; allowed together: sweeps of the same objectives"
            )
    losses, sizes = _losses(views)
    ends = np.cumsum(sizes)
    volumes = [_volume(losses[e - s : e]) for s, e in zip(sizes, ends, strict=True)]
    return Overlay(views=tuple(views), hypervolumes=tuple(volumes), together=_volume(losses))


def text_table(found: Overlay) -> str:
    """Sweeps with their hypervolumes and the difference to the first one, as text."""
    width = max(len("sweep"), *(len(view.name) for view in found.views))
    head = f"{'sweep':<{width}}  trials  front  unbeaten  hypervolume  "
    head += f"difference to {found.views[0].name}"
    lines = [head, *(_line(found, at, width) for at in range(len(found.views)))]
    lines.append(
        f"all together {found.together:.4f}. One reference for all: the worst value of each "
        "objective over these sweeps. unbeaten: points of the front that no other sweep beats."
    )
    return "\n".join(lines)


def to_dict(found: Overlay) -> dict[str, Any]:
    """JSON-ready; each sweep's own front beside the hypervolumes on the common reference."""
    return {
        "objectives": {o.name: o.direction for o in found.objectives},
        "hypervolume_together": found.together,
        "sweeps": [
            {
                "hypervolume_common": volume,
                "difference_to_first": volume - found.hypervolumes[0],
                "unbeaten": found.alone(at),
                **view.front.to_dict(),
            }
            for at, (view, volume) in enumerate(zip(found.views, found.hypervolumes, strict=True))
        ],
    }


def difference(found: Overlay, at: int) -> str:
    """Of a sweep's hypervolume to the first one's; empty for the first."""
    if at == 0:
        return ""
    base, own = found.hypervolumes[0], found.hypervolumes[at]
    relative = f" ({100 * (own - base) / base:+.1f} %)" if base else ""
    return f"{own - base:+.4f}{relative}"


def _line(found: Overlay, at: int, width: int) -> str:
    view = found.views[at]
    return (
        f"{view.name:<{width}}  {len(view.trials):>6}  {len(view.front.points):>5}  "
        f"{found.alone(at):>8}  {found.hypervolumes[at]:>11.4f}  {difference(found, at)}"
    ).rstrip()


def _losses(views: Sequence[SweepView]) -> tuple[Any, list[int]]:
    """([points, objectives], points of each sweep): 0 is the best possible value, 1 the worst over
    all sweeps.
    """
    objectives = views[0].front.objectives
    every = [t.result for view in views for t in view.trials]
    worst = [o.worst_of(every) for o in objectives]
    rows = [
        [1 - o.gain(p.result, w) for o, w in zip(objectives, worst, strict=True)]
        for view in views
        for p in view.front.points
    ]
    return np.array(rows).reshape(-1, len(objectives)), [len(v.front.points) for v in views]


def _volume(losses: Any) -> float:
    return float(moocore.hypervolume(losses, ref=[1.0] * losses.shape[1])) if len(losses) else 0.0
