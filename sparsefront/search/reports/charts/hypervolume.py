"""How fast the sweep found its front: hypervolume over trials and over the time they took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import moocore

from sparsefront.search.config.objectives import feasible
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.reports.charts import on_page, on_paper
from sparsefront.search.reports.charts.panel import Axis, Panel, Series
from sparsefront.search.reports.charts.style import BLUE, GREEN
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import gains_of

NAME, HEADING = "hypervolume", "Hypervolume over trials and over compute"
READING = (
    "Hypervolume is the share of all that could be reached, from the worst to the best possible "
    "value of every objective, that the trials so far have reached: higher is better, and a curve "
    "that has gone flat means that more trials add little. Compute is what trials took, added up "
    "over all workers: by the clock, and of the CPU."
)
ALMOST = 0.95


@dataclass(frozen=True, kw_only=True)
class Progress:
    """After each trial that ended, in that order; seconds are added up over all trials so far."""

    trial_ids: tuple[int, ...]
    hypervolume: tuple[float, ...]
    seconds: tuple[float, ...]
    cpu_s: tuple[float, ...]

    def trials_to(self, share: float) -> int:
        """How many trials it took to reach a share of the last hypervolume."""
        wanted = share * self.hypervolume[-1]
        return next(n for n, volume in enumerate(self.hypervolume, 1) if volume >= wanted)


def pages(view: SweepView) -> list[Any]:
    return on_page.figures(panels(view))


def picture(view: SweepView) -> Any:
    return on_paper.picture_of(panels(view), title(view))


def title(view: SweepView) -> str:
    """What one sees: the last value, and how early most of it was there."""
    found = progress(view)
    if not found.hypervolume or not found.hypervolume[-1]:
        return f"{view.name}: no hypervolume yet"
    return (
        f"{view.name}: hypervolume {found.hypervolume[-1]:.3f} after {len(found.trial_ids)} "
        f"trials, {100 * ALMOST:.0f} % of it after {found.trials_to(ALMOST)}"
    )


def progress(view: SweepView) -> Progress:
    """Against one reference for all trials: the worst values of the whole sweep."""
    ends = view.ends or _in_order_of_ids(view)
    gain = dict(zip((t.trial_id for t in view.trials), gains_of(view.front), strict=True))
    allowed = {t.trial_id for t in view.trials if feasible(t.result, view.constraints)}
    reached, volumes, seconds, cpu_s = [], [0.0], [0.0], [0.0]
    for end in ends:
        volume = volumes[-1]
        if end.trial_id in allowed:
            reached.append(1 - gain[end.trial_id])
            volume = float(moocore.hypervolume(reached, ref=[1.0] * len(view.front.objectives)))
        volumes.append(volume)
        seconds.append(seconds[-1] + end.seconds)
        cpu_s.append(cpu_s[-1] + end.cpu_s)
    return Progress(
        trial_ids=tuple(e.trial_id for e in ends), hypervolume=tuple(volumes[1:]),
        seconds=tuple(seconds[1:]), cpu_s=tuple(cpu_s[1:]),
    )  # fmt: skip


def panels(view: SweepView) -> list[Panel]:
    found = progress(view)
    factor, unit = time_unit(max(found.seconds, default=0.0))
    up_to = Axis(text="hypervolume, higher is better", limits=(0.0, _top(found)))
    texts = ["before the first trial"]
    texts += [
        f"trial {number}<br>hypervolume {volume:.4f}<br>{seconds * factor:.3g} {unit} by the clock"
        f"<br>{cpu * factor:.3g} {unit} of CPU"
        for number, volume, seconds, cpu in zip(
            found.trial_ids, found.hypervolume, found.seconds, found.cpu_s, strict=True
        )
    ]
    clock = _steps("by the clock", [s * factor for s in found.seconds], found, BLUE, texts)
    cpu = _steps("of the CPU", [s * factor for s in found.cpu_s], found, GREEN, texts, dash=True)
    trials = _steps("", range(1, len(texts)), found, BLUE, texts)
    return [
        Panel(
            title="After so many trials", x=Axis(text="trials ended"), y=up_to, series=(trials,),
            legend=False,
        ),
        Panel(
            title="After so much compute", x=Axis(text=f"time of all trials, {unit}"), y=up_to,
            series=(clock, *((cpu,) if any(found.cpu_s) else ())),
        ),
    ]  # fmt: skip


def time_unit(longest_s: float) -> tuple[float, str]:
    """(factor of seconds, name) of a unit in which this is neither tiny nor huge."""
    if longest_s < 300:
        return 1.0, "seconds"
    return (1 / 60, "minutes") if longest_s < 3 * 3600 else (1 / 3600, "hours")


def _steps(
    name: str, x: Any, found: Progress, colour: str, texts: list[str], *, dash: bool = False
) -> Series:
    return Series(
        name=name, x=[0.0, *x], y=[0.0, *found.hypervolume], colour=colour, draw="over_up",
        hover=texts, size=5.0, dash=dash, in_legend=bool(name),
    )  # fmt: skip


def _top(found: Progress) -> float:
    return 1.08 * max(found.hypervolume, default=0.0) or 1.0


def _in_order_of_ids(view: SweepView) -> tuple[TrialEnd, ...]:
    return tuple(
        TrialEnd(
            trial_id=t.trial_id, status="finished", seconds=t.result.timings.get("total_s", 0.0),
            cpu_s=t.result.timings.get("cpu_s", 0.0),
        )
        for t in view.trials
    )  # fmt: skip
