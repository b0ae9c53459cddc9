"""The front is drawn while a sweep runs, seldom enough."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.reports import live_front
from sparsefront.search.reports.live_front import EVERY_S, SHARE, LiveFront
from sparsefront.search.runs.front import ParetoFront
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
def logged() -> list[ParetoFront]:
    return []


@pytest.fixture
def live(
    sweep: Sweep, stored_sweep: Any, clock: Clock, logged: list[ParetoFront], monkeypatch: Any
) -> LiveFront:
    """Every drawing takes COST_S."""

    def draw(*_: object) -> None:
        clock.now += COST_S

    monkeypatch.setattr(live_front, "save_front_files", draw)
    run: RunFolder = stored_sweep("one", [])
    return LiveFront(sweep, run, logged.append, clock, lambda: 0.0)


def test_drawing_takes_a_bounded_share_of_the_time(
    live: LiveFront, clock: Clock, view_of: Any
) -> None:
    """A trial every 10 s for five hours, each changing the front."""
    fronts = [view_of([(0.5, 5.0, 0.5)] * size).front for size in (1, 2)]
    for number in range(1800):
        clock.now += 10.0
        live.ended(number, {}, fronts[number % 2])
    assert live.spent_s == COST_S * live.drawings
    assert 0.5 * SHARE < live.spent_s / clock.now <= SHARE * 1.02


def test_front_is_drawn_only_when_it_has_changed(
    live: LiveFront, clock: Clock, view_of: Any, logged: list[ParetoFront]
) -> None:
    front = view_of([(0.5, 5.0, 0.5)]).front
    for _ in range(5):
        clock.now += 1000 * EVERY_S
        live.ended(0, {}, front)
    assert live.drawings == 1 and logged == [front]


def test_failing_picture_never_ends_a_sweep(
    live: LiveFront, clock: Clock, view_of: Any, monkeypatch: Any, capsys: Any
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no place")

    monkeypatch.setattr(live_front, "save_front_files", broken)
    for size in (1, 2):
        clock.now += 1000 * EVERY_S
        live.ended(0, {}, view_of([(0.5, 5.0, 0.5)] * size).front)
    assert capsys.readouterr().err.count("no place") == 1
