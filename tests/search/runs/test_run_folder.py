"""Runs behind a URI: what crosses from machine to machine, and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.driver.worker import fetch_trial
from sparsefront.search.runs.run_folder import RunFolder, cache_folder, run_folder, working_copy
from sparsefront.search.runs.shared_storage import SharedStorage, StorageLost
from sparsefront.search.runs.trial_writer import write_end


def written(run: RunFolder, number: int, *names: str) -> None:
    run.trial_dir(number).mkdir(parents=True, exist_ok=True)
    for name in names:
        (run.trial_dir(number) / name).write_text(json.dumps({"name": name}))


def names(run: RunFolder, number: int) -> set[str]:
    return {file.name for file in run.trial_dir(number).iterdir()}


def test_working_copy_of_a_path_is_itself(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "runs", "one")
    with working_copy(run) as same:
        assert same == run and same.shared is None
    assert not (tmp_path / "cache").exists()


def test_checkpoint_goes_on_elsewhere_and_ends_with_its_trial(uri: str, kept: RunFolder) -> None:
    """A checkpoint goes on elsewhere; once the trial has ended it is gone for all."""
    with (
        working_copy(run_folder(uri, "one")) as first,
        working_copy(run_folder(uri, "one")) as second,
    ):
        assert first.runs != second.runs
        written(first, 3, "checkpoint-1.safetensors", "checkpoint.json")
        first.publish(3)
        written(first, 3, "checkpoint-2.safetensors", "checkpoint.json")
        (first.trial_dir(3) / "checkpoint-1.safetensors").unlink()
        first.publish(3)
        assert names(kept, 3) == {"checkpoint-2.safetensors", "checkpoint.json"}
        fetch_trial(second, 3)
        assert names(second, 3) == names(kept, 3)
        written(second, 3, "weights.safetensors", "spec.json", "result.json")
        second.publish(3)
        ended = {"weights.safetensors", "spec.json", "result.json"}
        assert names(kept, 3) == ended
        first.pull_trial(3)
        assert {"spec.json", "result.json"} <= names(first, 3)
        assert "checkpoint.json" not in names(first, 3)
        assert "weights.safetensors" not in names(first, 3)
    assert not any(cache_folder().glob("work/[!.]*"))


def test_file_that_ends_a_trial_is_published_last(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whoever sees it sees all; a run cut short before is no end."""
    put: list[str] = []

    def fail_at_result(self: SharedStorage, file: Path) -> None:
        if file.name == "result.json":
            raise PermissionError("no more")
        put.append(file.name)

    monkeypatch.setattr(SharedStorage, "_put", fail_at_result)
    with working_copy(run_folder(uri, "one")) as run:
        written(run, 0, "result.json", "masks.safetensors", "spec.json", "weights.safetensors")
        with pytest.raises(StorageLost, match=r"--runs: value 'file://.*PermissionError: no more"):
            run.publish(0)
    assert put == ["masks.safetensors", "spec.json", "weights.safetensors"]


def test_failure_written_by_the_driver_removes_the_checkpoint(uri: str, kept: RunFolder) -> None:
    """The driver, which has no tensors, ends it: nothing of the checkpoint stays."""
    written(kept, 1, "checkpoint-1.safetensors", "checkpoint.json")
    with working_copy(run_folder(uri, "one")) as run:
        run.pull_trial(1)
        write_end(run, TrialEnd.failed(1, "lost"), None)
    assert names(kept, 1) == {"failure.json"}


def test_half_written_files_are_not_fetched(uri: str, kept: RunFolder) -> None:
    written(kept, 0, ".result.json.1234", "spec.json")
    with working_copy(run_folder(uri, "one")) as run:
        fetch_trial(run, 0)
        assert names(run, 0) == {"spec.json"}


def test_readers_keep_a_copy_until_the_sweep_is_another_one(uri: str, kept: RunFolder) -> None:
    written(kept, 0, "result.json")
    kept.launch_file.write_text('{"run_id": "a"}')
    run = run_folder(uri, "one").pull()
    at = (run.trial_dir(0) / "result.json").stat().st_mtime_ns
    run.pull()
    assert (run.trial_dir(0) / "result.json").stat().st_mtime_ns == at
    kept.launch_file.write_text('{"run_id": "b"}')
    (kept.trial_dir(0) / "result.json").unlink()
    assert run.finished() == [0] and run.pull().finished() == []


def test_working_copies_of_killed_processes_are_removed(uri: str, cache: Path) -> None:
    """Those of living ones stay."""
    left = cache / "work" / "left"
    left.mkdir(parents=True)
    (left / ".lock").touch()
    with working_copy(run_folder(uri, "one")) as first:
        assert not left.exists()
        with working_copy(run_folder(uri, "one")):
            assert first.runs.is_dir()


def test_unknown_sweep_is_refused_with_those_there_are(
    uri: str, kept: RunFolder, capsys: Any
) -> None:
    for name in ("one", "two"):
        other = replace(kept, name=name)
        other.path.mkdir(parents=True)
        other.sweep_file.touch()
    assert main(["front", "three", "--runs", uri]) == 2
    said = capsys.readouterr().err
    assert f"value 'three' not found in {uri}; known: one, two" in said
