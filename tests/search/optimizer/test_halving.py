"""Which trials are promoted at a rung, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.halving import Halving, Rung
from sparsefront.search.optimizer.halving import (
    RungRecord,
    crowding,
    epsilon_net,
    losses_of,
    ranked,
)


def record(safe: int = 0, reduction: float = 3.0) -> RungRecord:
    return RungRecord(Halving(rungs=[Rung(steps=0)], safe=safe, reduction=reduction))


def test_ordered_data_promotes_the_best_third_so_far() -> None:
    """One objective in disguise: exactly those go on that are in the best third when they come.

    5, 4 and 3 each lead when they come; 6 is 4th of 4, 7 5th of 5, 8 6th; 1 leads; 2 is 2nd of 8,
    within 8/3; 2.5 is 3rd of 9, not within 3 (places count from 0: 2 < 3, it is).
    """
    rung = record()
    came = [5, 4, 3, 6, 7, 8, 1, 2, 2.5, 9]
    decisions = [rung.goes_on(i, [value, value]) for i, value in enumerate(came)]
    assert decisions == [True, True, True, False, False, False, True, True, True, False]


def test_promoted_trial_stays_promoted() -> None:
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
        resumed.restore(i, [1.0 / (i + 1)] * 2)
    assert resumed.goes_on(0, [1.0, 1.0])
    assert not resumed.goes_on(11, [0.9, 0.9])  # one that no driver had judged
    assert not resumed.goes_on(10, [1.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_ranked_is_the_order_of_the_values(seed: int) -> None:
    """On ordered data the order is that of the values, not a permutation's inverse."""
    values = np.random.default_rng(seed).permutation(20).astype(float)
    points = np.stack([values, values], 1)
    for spread in ("epsilon_net", "crowding"):
        assert ranked(points, spread) == np.argsort(values).tolist()


def test_ranked_goes_front_by_front() -> None:
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


def test_safe_rung_promotes_its_whole_first_front() -> None:
    """Six trade-offs of one front all go on while safe; without, only every third or so."""
    front = [(i, 5 - i) for i in range(6)]
    spared, strict = record(safe=6), record()
    assert all(spared.goes_on(i, p) for i, p in enumerate(front[:5]))
    assert sum(strict.goes_on(i, p) for i, p in enumerate(front)) < 6


def test_reporting_again_changes_nothing() -> None:
    rung = record()
    first = [rung.goes_on(i, [v, v]) for i, v in enumerate([3, 2, 5])]
    assert [rung.goes_on(2, [5, 5]), len(rung.seen)] == [first[2], 3]


def test_losses_are_minimised_in_order_of_the_objectives() -> None:
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
def test_wrong_fields_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Halving(**fields)  # type: ignore[arg-type]
