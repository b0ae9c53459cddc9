"""Which trials Ray's scheduler stops at a rung."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.halving import Halving, Rung
from sparsefront.search.driver.scheduler import rung_of
from sparsefront.search.optimizer.halving import RungRecord, losses_of
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_end
from tests.helpers.faults import check_complete, halved, results_before_the_end


def test_results_of_another_sweeps_rungs_are_of_no_rung() -> None:
    """Results taken over from a sweep with rungs of its own."""
    halving = Halving(rungs=[Rung(steps=0, frames=0.25), Rung(steps=5, frames=0.5)])
    known: dict[str, Any] = {"steps": 5, "frames": 0.5, "total_s": 1.0, "cpu_s": 1.0, "metrics": {}}
    assert rung_of(halving, known) == 1  # type: ignore[arg-type]
    assert rung_of(halving, {**known, "frames": 0.25}) is None  # type: ignore[typeddict-item]


@pytest.mark.long
def test_sweep_stops_what_is_not_among_the_best(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, capsys: Any
) -> None:
    """One worker, two rungs: each trial is stopped exactly where it was not among the best half
    that the rung had seen. Stopped ones are never trained further, nor on the front.
    """
    run = RunFolder(runs=tmp_path / "runs", name="halved")
    data = {**halved(sweep_data), "trials": 8, "workers": 1}
    data["halving"] |= {"reduction": 2, "safe": 0}
    verb = ["sweep", str(write_yaml(data)), "--name", run.name, "--runs", str(run.runs)]
    assert main(verb) == 0
    check_complete(run, {})

    halving = Halving(rungs=[Rung(steps=0)], safe=0, reduction=2)
    rungs = [RungRecord(halving), RungRecord(halving)]
    directions = {"mAP": "max", "GFLOPs": "min", "nonzeros": "min"}
    stopped = {}
    for number in range(8):
        results = results_before_the_end(run, number)
        went_on = [
            rung.goes_on(number, losses_of(result["metrics"], directions))
            for rung, result in zip(rungs, results, strict=False)
        ]
        end = read_end(run, number)
        assert end is not None and end.status in ("finished", "stopped")
        if end.status == "finished":
            assert went_on == [True, True]
        else:
            passed = len(results)
            assert went_on == [True] * (passed - 1) + [False]
            stopped[number] = passed
            assert end.reason.startswith(f"rung {passed} of 2: not among the best 1 in 2 of ")
    assert 2 <= len(stopped) <= 6
    capsys.readouterr()
    assert main(["front", run.name, "--json", "--runs", str(run.runs)]) == 0
    front = json.loads(capsys.readouterr().out)
    shown = {p["trial"] for p in front["points"] + front["others"]}
    assert shown == set(range(8)) - set(stopped)
