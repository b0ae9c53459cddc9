"""Results of an earlier sweep, taken over by one that could have measured them itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.cli import main
from search.proposals.for_sweep import optimizer_of
from search.proposals.warm_start import take_over
from search.runs.run_folder import at_work
from search.runs.run_store import RunFolder, read_trial, run_folder, write_trial
from search.sweep_file import check_inputs, read_sweep
from search.trials.trial import run_trial

CAMERA = "allocation.per_modality.camera"


@pytest.fixture
def earlier(sweep_data: dict[str, Any], tmp_path: Path) -> RunFolder:
    """A sweep's folder with three trials: one in the space, one outside its range, one of another
    learning rate.
    """
    run = RunFolder(out=tmp_path, name="earlier")
    run.path.mkdir()
    run.sweep_file.write_text(yaml.safe_dump(sweep_data))
    trial = read_sweep(run.sweep_file).trial
    trial = replace(trial, fine_tune=replace(trial.fine_tune, steps=0))
    specs = [
        trial,
        replace(trial, allocation=replace(trial.allocation, per_modality={"camera": 0.95})),
        replace(trial, fine_tune=replace(trial.fine_tune, lr=0.5)),
    ]
    for number, spec in enumerate(specs):
        write_trial(run, number, run_trial(spec))
    return run


def test_only_what_fits_and_only_once(
    earlier: RunFolder, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {CAMERA: {"low": 0.0, "high": 0.9}}
    sweep_data["warm_start"] = [str(earlier.path)]
    sweep = read_sweep(write_yaml(sweep_data))
    check_inputs(sweep)
    run = RunFolder(out=tmp_path, name="later")
    optimizer = optimizer_of(replace(sweep, first=[]), run.storage)
    said = take_over(sweep, optimizer, run)
    assert said == [
        f"{earlier.path}: 1 of 3 results taken over; 2 are of another trial or outside the space"
    ]
    assert run.finished() == [0]
    assert read_trial(run, 0).result == read_trial(earlier, 0).result
    assert optimizer.told() == 0  # it was measured elsewhere, and costs this sweep no trial
    assert optimizer.states() == {0: "COMPLETE"}
    assert "0 of 3 results taken over" in take_over(sweep, optimizer, run)[0]
    asked = optimizer.ask()
    assert asked is not None and asked.values != {CAMERA: 0.5}


def test_from_storage_into_storage(
    earlier: RunFolder, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Both behind a URI: whole trials go up, weights too, and the journal that names them."""
    monkeypatch.setenv("SPARSEFRONT_RUNS_CACHE", str(tmp_path / "cache"))
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {CAMERA: {"low": 0.0, "high": 0.9}}
    sweep_data["warm_start"] = [earlier.path.as_uri()]
    sweep = read_sweep(write_yaml(sweep_data))
    check_inputs(sweep)
    with at_work(run_folder(tmp_path.as_uri(), "later")) as run:
        optimizer = optimizer_of(replace(sweep, first=[]), run.storage)
        assert ": 1 of 3 results taken over" in take_over(sweep, optimizer, run)[0]
    kept = RunFolder(out=tmp_path, name="later")
    assert kept.finished() == [0] and kept.storage.is_file()
    ours, theirs = read_trial(kept, 0), read_trial(earlier, 0)
    assert ours.result == theirs.result
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_no_such_sweep(sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path) -> None:
    sweep_data["warm_start"] = [str(tmp_path / "nothing")]
    with pytest.raises(ValueError, match=r"warm_start: value .*nothing' holds no sweep; allowed"):
        check_inputs(read_sweep(write_yaml(sweep_data)))


@pytest.mark.long
def test_a_sweep_over_trade_offs_starts_from_another(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """What a trial was asked for is kept beside the allocation that it became; without it, as
    earlier versions wrote trials, that is what is said.
    """
    sweep_data["trial"] |= {"trade_off": {"saved": 0.5, "budgets": "modality"}}
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {
        "trade_off.saved": {"low": 0.0, "high": 1.0},
        "trade_off.tilt.camera": {"low": -2.0, "high": 2.0},
    }
    sweep_data["trials"] = 3
    file = write_yaml(sweep_data)
    assert main(["sweep", str(file), "--name", "first", "--out", str(tmp_path)]) == 0
    first = RunFolder(out=tmp_path, name="first")
    assert first.finished() == [0, 1, 2]
    assert read_trial(first, 0).spec.trade_off is None

    later = RunFolder(out=tmp_path, name="later")
    asked = optimizer_of(read_sweep(first.sweep_file), first.storage)
    sweep = replace(read_sweep(first.sweep_file), warm_start=[str(first.path)], first=[])
    optimizer = optimizer_of(sweep, later.storage)
    assert take_over(sweep, optimizer, later) == [
        f"{first.path}: 3 of 3 results taken over; 0 are of another trial or outside the space"
    ]
    for number in range(3):
        assert optimizer.values(number) == asked.values(number)
        assert read_trial(later, number).asked == read_trial(first, number).asked

    (first.trial_dir(1) / "asked.json").unlink()
    again = RunFolder(out=tmp_path, name="again")
    said = take_over(sweep, optimizer_of(sweep, again.storage), again)
    assert said == [
        f"{first.path}: 2 of 3 results taken over; 0 are of another trial or outside the space; "
        "1 do not say which trade_off they were of"
    ]
