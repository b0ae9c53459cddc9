"""The front is drawn while a sweep runs, seldom enough."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports import live_front
from sparsefront.search.reports.live_front import EVERY_S, SHARE, LiveFront
from sparsefront.search.reports.parent_run import LONGEST_NOTE, note
from sparsefront.search.runs.front import ParetoFront, pareto_front
from sparsefront.search.runs.run_folder import RunFolder

COST_S = 3.0


class Clock:
    """Seconds that pass only when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[ParetoFront]:
    return []


@pytest.fixture
def live(
    sweep: Sweep, stored_sweep: Any, clock: Clock, told: list[ParetoFront], monkeypatch: Any
) -> LiveFront:
    """Every drawing takes COST_S."""

    def draw(*_: object) -> None:
        clock.now += COST_S

    monkeypatch.setattr(live_front, "save_front_files", draw)
    run: RunFolder = stored_sweep("one", [])
    return LiveFront(sweep, run, told.append, clock, lambda: 0.0)


def test_share_of_the_time_is_bounded(live: LiveFront, clock: Clock, view_of: Any) -> None:
    """A trial every 10 s for five hours, each changing the front."""
    fronts = [view_of([(0.5, 5.0, 0.5)] * size).front for size in (1, 2)]
    for number in range(1800):
        clock.now += 10.0
        live.ended(number, {}, fronts[number % 2])
    assert live.spent_s == COST_S * live.drawings
    assert 0.5 * SHARE < live.spent_s / clock.now <= SHARE * 1.02


def test_drawn_only_when_the_front_has_changed(
    live: LiveFront, clock: Clock, view_of: Any, told: list[ParetoFront]
) -> None:
    front = view_of([(0.5, 5.0, 0.5)]).front
    for _ in range(5):
        clock.now += 1000 * EVERY_S
        live.ended(0, {}, front)
    assert live.drawings == 1 and told == [front]


def test_a_picture_never_ends_a_sweep(
    live: LiveFront, clock: Clock, view_of: Any, monkeypatch: Any, capsys: Any
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no place")

    monkeypatch.setattr(live_front, "save_front_files", broken)
    for size in (1, 2):
        clock.now += 1000 * EVERY_S
        live.ended(0, {}, view_of([(0.5, 5.0, 0.5)] * size).front)
    assert capsys.readouterr().err.count("no place") == 1


def test_note_fits_into_a_tag_however_long_the_front(view_of: Any, sweep: Sweep) -> None:
    view = view_of([(0.9 - 0.002 * n, 9.0 - 0.02 * n, 0.5) for n in range(400)])
    assert len(view.front.points) == 400
    text = note(view.front, "1", "abc", finished=True)
    assert len(text) < LONGEST_NOTE < 8000
    assert "400 of 400 trials on the Pareto front" in text and "of 400 points; all:" in text
    assert "runs/abc/artifacts/front/report.html" in text
    empty = note(pareto_front(sweep, "empty", []), "1", "abc", finished=False)
    assert "report.html" not in empty and "0 of 0" in empty
