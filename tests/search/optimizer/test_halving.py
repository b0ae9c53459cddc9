"""Who goes on at a rung: by hand, and in a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.halving import Halving, Rung
from sparsefront.search.driver.scheduler import rung_of
from sparsefront.search.optimizer.halving import (
    RungRecord,
    crowding,
    epsilon_net,
    losses_of,
    ranked,
)
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from tests.helpers.faults import check_complete, halved, looks_before_the_end


def record(safe: int = 0, reduction: float = 3.0) -> RungRecord:
    return RungRecord(Halving(rungs=[Rung(steps=0)], safe=safe, reduction=reduction))


def test_fully_ordered_data() -> None:
    """One objective in disguise: exactly those go on that are in the best third when they come.

    5, 4 and 3 each lead when they come; 6 is 4th of 4, 7 5th of 5, 8 6th; 1 leads; 2 is 2nd of 8,
    within 8/3; 2.5 is 3rd of 9, not within 3 (places count from 0: 2 < 3, it is).
    """
    rung = record()
    came = [5, 4, 3, 6, 7, 8, 1, 2, 2.5, 9]
    decisions = [rung.goes_on(i, [value, value]) for i, value in enumerate(came)]
    assert decisions == [True, True, True, False, False, False, True, True, True, False]


def test_who_went_on_still_does() -> None:
    """A trial whose worker died after its rung reports it again, when better ones have come; so
    does one of a resumed sweep.
    """
    rung = record()
    assert rung.goes_on(0, [5.0, 5.0])
    assert [rung.goes_on(i, [1.0 / i, 1.0 / i]) for i in range(1, 9)] == [True] * 8
    assert not rung.goes_on(9, [5.0, 5.0])
    assert rung.goes_on(0, [5.0, 5.0])
    resumed = record()
    for i in range(9):
        resumed.saw(i, [1.0 / (i + 1)] * 2)
    assert resumed.goes_on(0, [1.0, 1.0])
    assert not resumed.goes_on(11, [0.9, 0.9])  # one that no driver had judged
    assert not resumed.goes_on(10, [1.0, 1.0])


def test_looks_of_other_rungs() -> None:
    """Results taken over from a sweep with rungs of its own."""
    halving = Halving(rungs=[Rung(steps=0, frames=0.25), Rung(steps=5, frames=0.5)])
    known: dict[str, Any] = {"steps": 5, "frames": 0.5, "total_s": 1.0, "cpu_s": 1.0, "metrics": {}}
    assert rung_of(halving, known) == 1  # type: ignore[arg-type]
    assert rung_of(halving, {**known, "frames": 0.25}) is None  # type: ignore[typeddict-item]


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_ranks(seed: int) -> None:
    """On ordered data the order is that of the values, not a permutation's inverse."""
    values = np.random.default_rng(seed).permutation(20).astype(float)
    points = np.stack([values, values], 1)
    for spread in ("epsilon_net", "crowding"):
        assert ranked(points, spread) == np.argsort(values).tolist()


def test_fronts_first() -> None:
    """Three fronts: (0,3) (3,0) (1,1) | (2,2) | (4,4)."""
    points = np.array([[4, 4], [0, 3], [2, 2], [3, 0], [1, 1]], float)
    for spread in ("epsilon_net", "crowding"):
        order = ranked(points, spread)
        assert set(order[:3]) == {1, 3, 4}
        assert order[3:] == [2, 0]


def test_epsilon_net_by_hand() -> None:
    """On a line: the best by the first objective, the other end, the middle, then the rest."""
    points = np.array([[0.2, 0.8], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    assert epsilon_net(points) == [1, 3, 2, 0]


def test_crowding_by_hand() -> None:
    """Ends first; inside, (0.6, 0.4) has neighbours 0.9 apart in each objective, (0.1, 0.9) 0.6."""
    points = np.array([[0.0, 1.0], [0.1, 0.9], [0.6, 0.4], [1.0, 0.0]])
    assert crowding(points) == [0, 3, 2, 1]


def test_small_rungs_spare_their_first_front() -> None:
    """Six trade-offs of one front all go on while safe; without, only every third or so."""
    front = [(i, 5 - i) for i in range(6)]
    spared, strict = record(safe=6), record()
    assert all(spared.goes_on(i, p) for i, p in enumerate(front[:5]))
    assert sum(strict.goes_on(i, p) for i, p in enumerate(front)) < 6


def test_telling_again_changes_nothing() -> None:
    rung = record()
    first = [rung.goes_on(i, [v, v]) for i, v in enumerate([3, 2, 5])]
    assert [rung.goes_on(2, [5, 5]), len(rung.seen)] == [first[2], 3]


def test_losses() -> None:
    values = {"mAP": 0.4, "GFLOPs": 3.0, "other": 1.0}
    assert losses_of(values, {"mAP": "max", "GFLOPs": "min"}) == [-0.4, 3.0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rungs": []}, "rungs: value"),
        ({"rungs": [Rung(steps=3), Rung(steps=1)]}, "steps and frames never fall"),
        ({"rungs": [Rung(steps=3), Rung(steps=3)]}, "one of the two rises"),
        ({"rungs": [Rung(steps=3)], "reduction": 1.0}, "reduction: value 1.0"),
        ({"rungs": [Rung(steps=3)], "safe": -1}, "safe: value -1"),
    ],
)
def test_wrong_halving(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Halving(**fields)  # type: ignore[arg-type]


@pytest.mark.long
def test_sweep_that_stops(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """One worker, two rungs: each trial is stopped exactly where it was not among the best half
    that the rung had seen. Stopped ones are never trained further, nor on the front.
    """
    run = RunFolder(runs=tmp_path / "runs", name="halved")
    data = {**halved(sweep_data), "trials": 8, "workers": 1}
    data["halving"] |= {"reduction": 2, "safe": 0}
    verb = ["sweep", str(write_yaml(data)), "--name", run.name, "--out", str(run.runs)]
    assert main(verb) == 0
    check_complete(run, {})

    rungs = [record(reduction=2), record(reduction=2)]
    directions = {"mAP": "max", "GFLOPs": "min", "nonzeros": "min"}
    stopped = {}
    for number in range(8):
        looks = looks_before_the_end(run, number)
        went_on = [
            rung.goes_on(number, losses_of(look["metrics"], directions))
            for rung, look in zip(rungs, looks, strict=False)
        ]
        stop = read_end(run, number)
        assert went_on == ([True, True] if stop is None else [True] * (len(looks) - 1) + [False])
        if stop is not None:
            stopped[number] = len(looks)
            assert stop.reason.startswith(f"rung {len(looks)} of 2: not among the best 1 in 2 of ")
    assert 2 <= len(stopped) <= 6
    capsys.readouterr()
    assert main(["front", run.name, "--json", "--out", str(run.runs)]) == 0
    front = json.loads(capsys.readouterr().out)
    shown = {p["trial"] for p in front["points"] + front["others"]}
    assert shown == set(range(8)) - set(stopped)
