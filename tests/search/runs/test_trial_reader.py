"""Trials read back as they were written, by this version and by 0.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.files.atomic import write_json
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import (
    read_end,
    read_finished,
    read_intermediate_results,
    read_spec,
    read_trial,
)
from sparsefront.search.runs.trial_writer import write_end
from tests.helpers.synthetic_sweep import synthetic_result

RUNGS: list[IntermediateResult] = [
    {"steps": 0, "frames": 0.5, "total_s": 1.5, "cpu_s": 1.25, "metrics": {"mAP": 0.1}},
    {"steps": 4, "frames": 1.0, "total_s": 3.5, "cpu_s": 2.25, "metrics": {"mAP": 1 / 3}},
]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(runs=tmp_path, name="one")


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


@pytest.mark.parametrize(
    "end",
    [
        TrialEnd.failed(3, "killed for memory: 2.10 GB, over max_memory_gb 2"),
        TrialEnd.stopped(3, "rung 2 of 2: not among the best", {"GFLOPs": 0.1 + 0.2}, RUNGS),
        TrialEnd.stopped(3, "dominated", {"GFLOPs": 2.0}, [], costs_are_lower_bounds=True),
    ],
    ids=["failed", "stopped", "skipped"],
)
def test_end_is_read_as_it_was_written(run: RunFolder, spec: TrialSpec, end: TrialEnd) -> None:
    write_end(run, end, spec)
    assert read_end(run, 3) == end
    assert read_spec(run, 3) == spec
    assert run.finished() == []


def test_finished_end_has_the_result(run: RunFolder) -> None:
    result = synthetic_result(0.7, 5.0, seconds=12.5)
    write_json(run.trial_dir(3) / "result.json", result.to_dict())
    assert read_end(run, 3) == TrialEnd.finished(3, result)


def test_finished_trial_stays_finished(run: RunFolder) -> None:
    """A failure that comes after the result is not recorded."""
    result = synthetic_result(0.7, 5.0)
    write_json(run.trial_dir(3) / "result.json", result.to_dict())
    write_end(run, TrialEnd.failed(3, "too late to fail"))
    assert read_end(run, 3) == TrialEnd.finished(3, result)
    assert not (run.trial_dir(3) / "failure.json").exists()


def test_trial_that_has_not_ended_has_no_end(run: RunFolder) -> None:
    write_json(run.trial_dir(3) / "checkpoint.json", {"intermediate_results": RUNGS})
    assert read_end(run, 3) is None and read_end(run, 4) is None
    assert read_spec(run, 3) is None


def test_stopped_trial_of_version_0_1_is_read(run: RunFolder) -> None:
    """Its intermediate results were called looks, lower bounds of its costs `least`."""
    older = {"reason": "dominated", "costs": {"GFLOPs": 2.0}, "looks": RUNGS, "least": True}
    write_json(run.trial_dir(3) / "stopped.json", older)
    assert read_end(run, 3) == TrialEnd.stopped(
        3, "dominated", {"GFLOPs": 2.0}, RUNGS, costs_are_lower_bounds=True
    )
    oldest = {"reason": "dominated", "costs": {}, "looks": []}  # before costs could be bounds
    write_json(run.trial_dir(4) / "stopped.json", oldest)
    assert read_end(run, 4) == TrialEnd.stopped(4, "dominated", {}, [])


def test_finished_trial_of_version_0_1_is_read(run: RunFolder) -> None:
    older = synthetic_result(0.7, 5.0).to_dict()
    del older["intermediate_results"]
    write_json(run.trial_dir(3) / "result.json", {**older, "looks": RUNGS})
    assert read_trial(run, 3).result.intermediate_results == RUNGS
    end = read_end(run, 3)
    assert end is not None and end.result is not None
    assert end.result.intermediate_results == RUNGS


def test_intermediate_results_are_of_every_trial_that_has_any(run: RunFolder) -> None:
    """Finished, stopped and under way, by this version and by 0.1; a torn checkpoint has none."""
    finished = {**synthetic_result(0.7, 5.0).to_dict(), "intermediate_results": RUNGS}
    write_json(run.trial_dir(5) / "result.json", finished)
    write_json(run.trial_dir(0) / "result.json", synthetic_result(0.7, 5.0).to_dict())
    stopped = {"reason": "rung 1 of 2", "costs": {}, "looks": RUNGS[:1]}
    write_json(run.trial_dir(2) / "stopped.json", stopped)
    write_json(run.trial_dir(4) / "checkpoint.json", {"intermediate_results": RUNGS[:1]})
    write_json(run.trial_dir(3) / "checkpoint.json", {"rungs": RUNGS})
    torn = run.trial_dir(1) / "checkpoint.json"
    torn.parent.mkdir()
    torn.write_text(json.dumps({"intermediate_results": RUNGS})[:-20])
    found = read_intermediate_results(run)
    assert list(found) == [2, 3, 4, 5]
    assert found == {2: RUNGS[:1], 3: RUNGS, 4: RUNGS[:1], 5: RUNGS}


def test_requested_spec_is_that_of_either_version_or_the_trials_own(
    run: RunFolder, spec: TrialSpec, sweep_data: dict[str, Any]
) -> None:
    requested = {**spec.to_dict(), "seed": 7}
    for number, name in ((0, "requested_spec.json"), (1, "asked.json"), (2, None)):
        folder = run.trial_dir(number)
        write_json(folder / "result.json", synthetic_result(0.7, 5.0).to_dict())
        write_json(folder / "spec.json", spec.to_dict())
        if name is not None:
            write_json(folder / name, requested)
    trials = read_finished(run)
    assert [t.trial_id for t in trials] == [0, 1, 2]
    assert [t.spec for t in trials] == [spec] * 3
    assert [t.requested.seed for t in trials] == [7, 7, spec.seed]


def test_trial_that_is_not_finished_is_refused_with_those_that_are(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"trial: value 0 is not finished in .*; finished: none"):
        read_trial(run, 0)
    write_json(run.trial_dir(2) / "result.json", synthetic_result(0.7, 5.0).to_dict())
    with pytest.raises(InputError, match="finished: 2"):
        read_trial(run, 0)
