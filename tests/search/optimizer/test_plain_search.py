"""The optimizer around a plain function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sparsefront
from sparsefront.errors import InputError

SPACE: dict[str, Any] = {"x": (0.0, 1.0), "k": {"choices": [0, 1]}}
GOALS: dict[str, Any] = {"near": "min", "far": "max"}


def measured(values: dict[str, Any]) -> dict[str, float]:
    if values["x"] > 0.95:
        raise ValueError("too large")
    return {"near": values["x"] ** 2, "far": values["x"] - values["k"]}


def test_front_of_a_function_with_failures() -> None:
    found = sparsefront.search(measured, SPACE, GOALS, trials=15, seed=3)  # type: ignore[operator]
    table = found.to_pandas()
    assert len(table) == 15
    failed = table[table["state"] == "FAIL"]
    assert set(failed["reason"]) <= {"ValueError: too large"} and len(failed) > 0
    assert all(point.values["k"] == 0 for point in found.front())


def test_it_goes_on_where_it_stopped_and_never_tries_twice(tmp_path: Path) -> None:
    calls: list[float] = []

    def count(values: dict[str, Any]) -> dict[str, float]:
        calls.append(values["x"])
        return {"near": values["x"], "far": 1.0}

    options: Any = {"storage": tmp_path / "search.log", "sampler": "random"}
    sparsefront.search(count, {"x": (0.0, 1.0)}, GOALS, trials=4, **options)  # type: ignore[operator]
    found = sparsefront.search(count, {"x": (0.0, 1.0)}, GOALS, trials=6, **options)  # type: ignore[operator]
    assert len(calls) == 6 == len(set(calls)) == len(found.trials())
    both = {"near": 1.0, "far": 1.0}
    few = sparsefront.search(lambda values: both, {"k": {"choices": [1, 2]}}, GOALS, trials=9)  # type: ignore[operator]
    assert len(few.trials()) == 2


@pytest.mark.long
def test_workers_call_it_on_ray() -> None:
    found = sparsefront.search(measured, SPACE, GOALS, trials=6, workers=2)  # type: ignore[operator]
    assert found.num_finished() == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trials": 0}, "trials: value 0; allowed: 1 and above"),
        ({"workers": -1}, "workers: value -1"),
        ({"objectives": {"near": "least"}}, "objectives.near: value 'least'; allowed: max, min"),
        ({"objective": lambda values: 3}, "every trial failed; the last one: returned int, no map"),
        ({"objective": lambda values: {"near": 1.0}}, "far: value None; allowed: a finite number"),
    ],
)
def test_wrong_input_is_told(change: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "objective": measured, "space": SPACE, "objectives": GOALS, "trials": 3, **change
    }  # fmt: skip
    with pytest.raises(InputError) as found:
        sparsefront.search(**given)  # type: ignore[operator]
    assert said in str(found.value)
