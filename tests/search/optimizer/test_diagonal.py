"""Points along the ranges of a space, and the search that begins with them."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.diagonal import diagonal
from sparsefront.search.optimizer.distributions import distributions, space_of

SPACE = {"camera": (0.0, 0.8), "lidar": (0.0, 0.4), "criterion": {"choices": ["a", "b"]}}


def along(space: dict[str, Any], points: int) -> list[dict[str, float | int]]:
    return diagonal(distributions(space_of(space)), points)


def test_points_run_from_low_to_high() -> None:
    """By hand: 1 - (1 - i / 2)^1.5 is 0, 0.6464 and 1."""
    found = along(SPACE, 3)
    assert [f["camera"] for f in found] == pytest.approx([0.0, 0.8 * 0.6464466, 0.8])
    assert [f["lidar"] for f in found] == pytest.approx([0.0, 0.4 * 0.6464466, 0.4])
    assert all("criterion" not in f for f in found)


def test_logarithms_and_whole_numbers_keep_their_scale() -> None:
    found = along({"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "steps": (1, 8)}, 3)
    assert [f["lr"] for f in found] == pytest.approx([1e-4, 1e-4 * 100**0.6464466, 1e-2])
    assert [f["steps"] for f in found] == [1, 6, 8]
    assert all(isinstance(f["steps"], int) for f in found)


def test_space_without_ranges_has_no_points() -> None:
    assert along({"criterion": {"choices": ["a", "b"]}}, 4) == []
    assert along({"camera": (0.0, 0.8)}, 1) == [{"camera": 0.0}]


def proposed(optimizer: Optimizer, count: int) -> list[dict[str, Any]]:
    proposals = [optimizer.ask() for _ in range(count)]
    return [dict(p.values) for p in proposals if p is not None]


@pytest.mark.parametrize("sampler", ["auto", "gp"])
def test_search_begins_with_the_diagonal(sampler: Any) -> None:
    points = along(SPACE, 4)
    found = proposed(Optimizer(SPACE, {"mAP": "max"}, sampler=sampler), 5)
    assert [{k: v[k] for k in point} for v, point in zip(found, points, strict=False)] == points
    assert {v["criterion"] for v in found} <= {"a", "b"}
    assert found[4]["camera"] / 0.8 != pytest.approx(found[4]["lidar"] / 0.4)


def test_search_with_first_values_or_at_random_has_no_diagonal() -> None:
    own = {"camera": 0.3, "lidar": 0.1, "criterion": "a"}
    given = Optimizer(SPACE, {"mAP": "max"}, first=[own])
    assert proposed(given, 1) == [own]
    for others in ({"first": []}, {"sampler": "random"}, {"sampler": "tpe"}):
        found: Any = proposed(Optimizer(SPACE, {"mAP": "max"}, **others), 1)
        assert 0 < found[0]["camera"] < 0.8


def test_reopened_search_does_not_begin_again(tmp_path: Any) -> None:
    once = Optimizer(SPACE, {"mAP": "max"}, tmp_path / "study.log")
    for _ in range(5):
        trial_id, values = once.ask()  # type: ignore[misc]
        once.tell(trial_id, {"mAP": float(values["camera"])})
    again = Optimizer(SPACE, {"mAP": "max"}, tmp_path / "study.log")
    found = proposed(again, 1)[0]
    assert "WAITING" not in again.states().values()
    assert found["camera"] / 0.8 != pytest.approx(found["lidar"] / 0.4)
