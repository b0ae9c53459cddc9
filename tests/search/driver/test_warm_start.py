"""Results of an earlier sweep, taken over by one that could have measured them itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsefront.errors import InputError
from sparsefront.files.atomic import write_json
from sparsefront.search.cli.main import main
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.checks import check_inputs
from sparsefront.search.driver.warm_start import take_over, values_in
from sparsefront.search.optimizer.for_sweep import initial_grid, optimizer_of
from sparsefront.search.runs.run_folder import RunFolder, run_folder, working_copy
from sparsefront.search.runs.trial_reader import read_intermediate_results, read_trial
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial

CAMERA = "allocation.per_modality.camera"


@pytest.fixture
def earlier(sweep_data: dict[str, Any], tmp_path: Path) -> RunFolder:
    """A sweep's folder with three trials: one in the space, one outside its range, one of another
    learning rate.
    """
    run = RunFolder(runs=tmp_path, name="earlier")
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


def test_fitting_results_are_taken_over_once(
    earlier: RunFolder, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {CAMERA: {"low": 0.0, "high": 0.9}}
    sweep_data["warm_start"] = [str(earlier.path)]
    sweep = read_sweep(write_yaml(sweep_data))
    check_inputs(sweep)
    run = RunFolder(runs=tmp_path, name="later")
    optimizer = optimizer_of(replace(sweep, first=[]), run.journal)
    said = take_over(sweep, optimizer, run)
    assert said == [
        f"{earlier.path}: 1 of 3 results taken over; 2 are of another trial or outside the space"
    ]
    assert run.finished() == [0]
    assert read_trial(run, 0).result == read_trial(earlier, 0).result
    assert optimizer.num_finished() == 0  # it was measured elsewhere, and costs this sweep no trial
    assert optimizer.states() == {0: "COMPLETE"}
    assert "0 of 3 results taken over" in take_over(sweep, optimizer, run)[0]
    requested = optimizer.ask()
    assert requested is not None and requested.values != {CAMERA: 0.5}


def test_known_first_allocation_is_not_tried_again(
    earlier: RunFolder, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """The default tries uniform allocations first: one that is known is not tried again, and what
    was taken over counts for nothing, from several folders too.
    """
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {CAMERA: {"low": 0.5, "high": 0.9}}
    sweep_data["warm_start"] = [str(earlier.path)] * 2
    sweep_data["trials"] = 16
    sweep = read_sweep(write_yaml(sweep_data))
    run = RunFolder(runs=tmp_path, name="later")
    optimizer = optimizer_of(sweep, run.journal)
    assert [line.partition(": ")[2][:6] for line in take_over(sweep, optimizer, run)] == [
        "1 of 3", "0 of 3"
    ]  # fmt: skip
    assert optimizer.num_finished() == 0 and len(run.finished()) == 1
    uniform = [values[CAMERA] for values in initial_grid(sweep)]
    assert uniform[0] == 0.5
    requested = [optimizer.ask() for _ in range(4)]
    values = [a.values[CAMERA] for a in requested if a is not None]
    assert values[:3] == uniform[1:] and values[3] not in uniform


@pytest.mark.parametrize("copied", [False, True])
def test_next_driver_takes_over_what_a_killed_one_began(
    earlier: RunFolder, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, copied: bool
) -> None:
    """With a trial copied in part, or as a whole and not told of: nobody trips over it, and the
    next driver takes it over under its number.
    """
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {CAMERA: {"low": 0.0, "high": 0.9}}
    sweep_data["warm_start"] = [str(earlier.path)]
    sweep = read_sweep(write_yaml(sweep_data))
    run = RunFolder(runs=tmp_path, name="later")
    lost = optimizer_of(sweep, run.journal)
    number = lost.adopt({CAMERA: 0.5})
    assert number is not None
    copy = run.trial_dir(number) if copied else run.trials / f".{number}"
    copy.mkdir(parents=True)
    for file in read_trial(earlier, 0).path.iterdir() if copied else ():
        (copy / file.name).write_bytes(file.read_bytes())
    if not copied:
        (copy / "result.json").write_text("{")
    assert run.finished() == ([number] if copied else [])
    assert read_intermediate_results(run) == {}
    again = optimizer_of(sweep, run.journal)
    assert "1 of 3 results taken over" in take_over(sweep, again, run)[0]
    assert run.finished() == [number] and again.running() == [] and again.num_finished() == 0
    assert read_trial(run, number).result == read_trial(earlier, 0).result


def test_criterion_is_known_by_its_fields_with_defaults(
    earlier: RunFolder, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """A choice leaves out what is as by default; a trial has it all."""
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["trial"]["criterion"] = {"name": "magnitude"}
    chosen = {"choices": [{"name": "altermoma"}, {"name": "magnitude"}]}
    sweep_data["space"] = {CAMERA: {"low": 0.0, "high": 0.9}, "criterion": chosen}
    sweep = read_sweep(write_yaml(sweep_data))
    for criterion in ({"name": "altermoma"}, {"name": "magnitude"}):
        spec = with_values(sweep.trial, {"criterion": criterion})
        write_json(earlier.trial_dir(0) / "spec.json", spec.to_dict())
        assert values_in(sweep, read_trial(earlier, 0)) == {CAMERA: 0.5, "criterion": criterion}
        own = replace(sweep, trial=spec)
        assert [step["criterion"] for step in initial_grid(own)] == [criterion] * len(
            initial_grid(own)
        )


def test_results_cross_from_storage_to_storage(
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
    with working_copy(run_folder(tmp_path.as_uri(), "later")) as run:
        optimizer = optimizer_of(replace(sweep, first=[]), run.journal)
        assert ": 1 of 3 results taken over" in take_over(sweep, optimizer, run)[0]
    kept = RunFolder(runs=tmp_path, name="later")
    assert kept.finished() == [0] and kept.journal.is_file()
    ours, theirs = read_trial(kept, 0), read_trial(earlier, 0)
    assert ours.result == theirs.result
    assert ours.weights().state.keys() == theirs.weights().state.keys()


def test_folder_without_a_sweep_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    sweep_data["warm_start"] = [str(tmp_path / "nothing")]
    with pytest.raises(InputError, match=r"warm_start: value .*nothing' holds no sweep; allowed"):
        check_inputs(read_sweep(write_yaml(sweep_data)))


@pytest.mark.long
def test_results_of_trade_offs_are_taken_over_as_requested(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """What a trial was asked for is kept beside the allocation that it became; without it, as
    earlier versions wrote trials, that is what is said.
    """
    sweep_data["trial"] |= {"trade_off": {"saved": 0.5, "groups": "modality"}}
    sweep_data["trial"]["fine_tune"]["steps"] = 0
    sweep_data["space"] = {
        "trade_off.saved": {"low": 0.0, "high": 1.0},
        "trade_off.tilt.camera": {"low": -2.0, "high": 2.0},
    }
    sweep_data["trials"] = 3
    file = write_yaml(sweep_data)
    assert main(["sweep", str(file), "--name", "first", "--runs", str(tmp_path)]) == 0
    first = RunFolder(runs=tmp_path, name="first")
    assert first.finished() == [0, 1, 2]
    assert read_trial(first, 0).spec.trade_off is None

    later = RunFolder(runs=tmp_path, name="later")
    requested = optimizer_of(read_sweep(first.sweep_file), first.journal)
    sweep = replace(read_sweep(first.sweep_file), warm_start=[str(first.path)], first=[])
    optimizer = optimizer_of(sweep, later.journal)
    assert take_over(sweep, optimizer, later) == [
        f"{first.path}: 3 of 3 results taken over; 0 are of another trial or outside the space"
    ]
    for number in range(3):
        assert optimizer.values(number) == requested.values(number)
        assert read_trial(later, number).requested == read_trial(first, number).requested

    (first.trial_dir(1) / "requested_spec.json").unlink()
    again = RunFolder(runs=tmp_path, name="again")
    said = take_over(sweep, optimizer_of(sweep, again.journal), again)
    assert said == [
        f"{first.path}: 2 of 3 results taken over; 0 are of another trial or outside the space; "
        "1 do not say which trade_off they were of"
    ]
