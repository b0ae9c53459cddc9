"""Hypervolume over trial-seconds, on points small enough to check by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fronts_over_time import (
    Ended,
    Search,
    curve,
    hypervolume,
    line_of,
    pooled,
    read_records,
    read_run,
    seconds_to,
)
from sparsefront.errors import InputError

DENSE_GMACS = 5.0


def metrics(mAP: float, NDS: float, GFLOPs: float) -> dict[str, float]:
    """GFLOPs of 10."""
    return {"mAP": mAP, "NDS": NDS, "GFLOPs": GFLOPs, "GMACs_dense": DENSE_GMACS}


TRIALS = (
    Ended(10.0, metrics(0.5, 0.4, 5.0)),
    Ended(4.0, None),
    Ended(6.0, metrics(0.5, 0.4, 6.0)),
    Ended(20.0, metrics(0.2, 0.8, 5.0)),
)
"""In gains: (0.5, 0.4, 0.5), nothing, (0.5, 0.4, 0.4) which the first beats, (0.2, 0.8, 0.5).
Volumes: 0.5 x 0.4 x 0.5 = 0.1; the last adds 0.2 x (0.8 - 0.4) x 0.5 = 0.04.
"""


def test_curve_by_hand() -> None:
    points = curve(TRIALS)
    assert [seconds for seconds, _ in points] == [10, 14, 20, 40]
    assert [volume for _, volume in points] == pytest.approx([0.1, 0.1, 0.1, 0.14], abs=1e-12)
    assert [seconds for seconds, _ in curve(TRIALS, before_s=5)] == [15, 19, 25, 45]


def test_hypervolume_is_zero_without_trials_and_outside_the_box() -> None:
    assert hypervolume([]) == 0
    assert curve([Ended(3.0, None)]) == [(3.0, 0.0)]
    assert hypervolume([metrics(0.9, 0.9, 10.0)]) == 0


def test_seconds_to_a_hypervolume() -> None:
    points = curve(TRIALS)
    assert seconds_to(points, 0.7 * 0.14) == 10
    assert seconds_to(points, 0.95 * 0.14) == 40
    assert seconds_to(points, 0.15) is None
    assert seconds_to([], 0.1) is None


def test_pooled_hypervolume_is_of_all_searches() -> None:
    first, second = Search("a", "cpu", TRIALS[:3]), Search("b", "cpu", TRIALS[3:])
    assert pooled([first, second]) == pytest.approx(0.14)
    line = line_of(first, pooled([first, second]))
    assert "3 trials, hypervolume 0.1000 (71.4% of 0.1400) after 20 s (cpu)" in line
    assert "90% never; 95% never" in line


def test_records_are_read_by_either_clock(tmp_path: Path) -> None:
    seconds = {"total_cpu_s": 10.0, "total_wall_s": 12.0, "startup_cpu_s": 3.0}
    lines: list[dict[str, Any]] = [
        {"machine": {"cores": 2}},
        {"trial": "x", "metrics": metrics(0.5, 0.4, 5.0), "seconds": seconds},
        {"driver": {"cpu_s": 9.0}},
    ]
    path = tmp_path / "by_hand.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert [t.seconds for t in read_records(path).trials] == [10]
    assert [t.seconds for t in read_records(path, startup=True).trials] == [13]
    assert [t.seconds for t in read_records(path, clock="wall").trials] == [12]
    del seconds["total_cpu_s"]
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(InputError, match=r"by_hand\.jsonl: line 2: 'total_cpu_s'; allowed"):
        read_records(path)


def test_run_folder_is_read_in_the_order_of_its_results(tmp_path: Path) -> None:
    """Trial 1 ended before trial 0; CPU seconds are used where all trials have them."""
    run = tmp_path / "sweep"
    for number, timings in ((1, {"total_s": 8.0}), (0, {"total_s": 9.0})):
        write_result(run, number, timings, age_s=10 * number)
    (run / "sweep.yaml").write_text("")
    found = read_run(run)
    assert (found.clock, [t.seconds for t in found.trials]) == ("wall", [8, 9])
    for number in (0, 1):
        write_result(run, number, {"total_s": 9.0, "cpu_s": 5.0 + number}, age_s=10 * number)
    found = read_run(run)
    assert (found.clock, [t.seconds for t in found.trials]) == ("cpu", [6, 5])
    assert [t.seconds for t in read_run(run, "wall").trials] == [9, 9]
    with pytest.raises(InputError, match="sweep name: value 'none' not found"):
        read_run(tmp_path / "none")


def write_result(run: Path, number: int, timings: dict[str, float], age_s: float) -> None:
    path = run / "trials" / str(number) / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metrics": metrics(0.5, 0.4, 5.0), "timings": timings}))
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
