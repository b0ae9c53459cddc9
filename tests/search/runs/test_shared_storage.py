"""Runs behind a URI: what crosses, in which order, who may drive. Folders stand for machines."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.driver.worker import take_up
from sparsefront.search.runs import one_driver
from sparsefront.search.runs.one_driver import only_driver
from sparsefront.search.runs.run_folder import RunFolder, cache_folder, run_folder, working_copy
from sparsefront.search.runs.shared_storage import SharedStorage, StorageLost
from sparsefront.search.runs.trial_writer import write_end


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSEFRONT_RUNS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kept(tmp_path: Path) -> RunFolder:
    """The sweep as it lies in the storage."""
    return RunFolder(runs=tmp_path / "storage", name="one")


@pytest.fixture
def uri(kept: RunFolder) -> str:
    return kept.runs.as_uri()


def written(run: RunFolder, number: int, *names: str) -> None:
    run.trial_dir(number).mkdir(parents=True, exist_ok=True)
    for name in names:
        (run.trial_dir(number) / name).write_text(json.dumps({"name": name}))


def names(run: RunFolder, number: int) -> set[str]:
    return {file.name for file in run.trial_dir(number).iterdir()}


def test_a_path_stays_where_it_is(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "runs", "one")
    with working_copy(run) as same:
        assert same == run and same.shared is None
    assert not (tmp_path / "cache").exists()


def test_from_machine_to_machine(uri: str, kept: RunFolder) -> None:
    """A checkpoint goes on elsewhere; once the trial has ended it is gone for all."""
    with (
        working_copy(run_folder(uri, "one")) as first,
        working_copy(run_folder(uri, "one")) as second,
    ):
        assert first.out != second.out
        written(first, 3, "checkpoint-1.safetensors", "checkpoint.json")
        first.publish(3)
        written(first, 3, "checkpoint-2.safetensors", "checkpoint.json")
        (first.trial_dir(3) / "checkpoint-1.safetensors").unlink()
        first.publish(3)
        assert names(kept, 3) == {"checkpoint-2.safetensors", "checkpoint.json"}
        take_up(second, 3)
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


def test_what_ends_a_trial_goes_up_last(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So whoever sees it sees all; a run cut short before is no end."""
    put: list[str] = []

    def fail_at_result(self: SharedStorage, file: Path) -> None:
        if file.name == "result.json":
            raise PermissionError("no more")
        put.append(file.name)

    monkeypatch.setattr(SharedStorage, "_put", fail_at_result)
    with working_copy(run_folder(uri, "one")) as run:
        written(run, 0, "result.json", "mask.safetensors", "spec.json", "weights.safetensors")
        with pytest.raises(StorageLost, match=r"--out: value 'file://.*PermissionError: no more"):
            run.publish(0)
    assert put == ["mask.safetensors", "spec.json", "weights.safetensors"]


def test_failure_of_a_trial_that_left_a_checkpoint(uri: str, kept: RunFolder) -> None:
    """The driver, which has no tensors, ends it: nothing of the checkpoint stays."""
    written(kept, 1, "checkpoint-1.safetensors", "checkpoint.json")
    with working_copy(run_folder(uri, "one")) as run:
        run.pull_trial(1)
        write_end(run, TrialEnd.failed(1, "lost"), None)
    assert names(kept, 1) == {"failure.json"}


def test_half_written_files_are_nobodys(uri: str, kept: RunFolder) -> None:
    written(kept, 0, ".result.json.1234", "spec.json")
    with working_copy(run_folder(uri, "one")) as run:
        take_up(run, 0)
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


def test_folders_of_killed_processes_go(uri: str, cache: Path) -> None:
    """Those of living ones stay."""
    left = cache / "work" / "left"
    left.mkdir(parents=True)
    (left / ".lock").touch()
    with working_copy(run_folder(uri, "one")) as first:
        assert not left.exists()
        with working_copy(run_folder(uri, "one")):
            assert first.out.is_dir()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_driver, "LEASE_S", 1.0)
    monkeypatch.setattr(one_driver, "RENEW_S", 0.2)
    monkeypatch.setattr(one_driver, "SETTLE_S", 0.1)


@pytest.mark.usefixtures("quick")
def test_second_driver(uri: str, kept: RunFolder) -> None:
    """Refused while the first one lives, and free at once when it has ended."""
    with (
        working_copy(run_folder(uri, "one")) as first,
        working_copy(run_folder(uri, "one")) as second,
    ):
        with only_driver(first) as lease:
            said = rf"sweep 'one' is running already in {uri}/one, by process \d+ on "
            with pytest.raises(ValueError, match=said), only_driver(second):
                raise AssertionError
            assert lease is not None and lease.lost is None
        began = time.monotonic()
        with only_driver(second):
            assert time.monotonic() - began < 0.9
    assert not (kept.path / "driver.json").exists()


@pytest.mark.usefixtures("quick")
def test_driver_that_was_killed(uri: str, kept: RunFolder) -> None:
    """Its object is there and nobody renews it."""
    kept.path.mkdir(parents=True)
    (kept.path / "driver.json").write_text(
        '{"driver": "gone", "host": "far", "pid": 7, "beats": 3}'
    )
    with working_copy(run_folder(uri, "one")) as run, only_driver(run) as lease:
        assert lease is not None and lease.lost is None


@pytest.mark.usefixtures("quick")
def test_two_drivers_at_once(uri: str) -> None:
    """Of several that find the sweep free one goes on."""
    going, ended = [], threading.Barrier(3)

    def drive() -> None:
        with working_copy(run_folder(uri, "one")) as run:
            try:
                with only_driver(run):
                    going.append(run)
                    ended.wait(10)
            except ValueError:
                ended.wait(10)

    drivers = [threading.Thread(target=drive) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(going) == 1


@pytest.mark.usefixtures("quick")
def test_driver_that_was_taken_for_dead(uri: str, kept: RunFolder) -> None:
    """It notices within a renewal, and leaves the other one's object alone."""
    with working_copy(run_folder(uri, "one")) as run:
        with only_driver(run) as lease:
            assert lease is not None
            (kept.path / "driver.json").write_text('{"driver": "another", "beats": 1}')
            time.sleep(0.5)
            assert lease.lost == f"another driver goes on with {uri}/one; this one stops"
        assert (kept.path / "driver.json").exists()


@pytest.mark.usefixtures("quick")
def test_driver_that_cannot_renew(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with working_copy(run_folder(uri, "one")) as run, only_driver(run) as lease:
        assert lease is not None
        monkeypatch.setattr(SharedStorage, "read", _refuses)
        time.sleep(1.3)
        assert lease.lost is not None and "could not be renewed for 1 s" in lease.lost


def _refuses(self: SharedStorage, file: Path) -> bytes | None:
    raise StorageLost("no answer")


def test_storage_that_comes_back(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without an answer is not told."""
    monkeypatch.setattr("sparsefront.search.runs.shared_storage.WAITS_S", (0.0, 0.0))
    with working_copy(run_folder(uri, "one")) as run:
        assert run.shared is not None
        file = run.path / "sweep.yaml"
        file.parent.mkdir()
        file.write_text("name: one")
        put, tried = SharedStorage._put, []

        def twice(self: SharedStorage, file: Path) -> None:
            tried.append(file)
            if len(tried) < 3:
                raise ConnectionError("busy")
            put(self, file)

        monkeypatch.setattr(SharedStorage, "_put", twice)
        run.push(file)
        assert run.exists() and len(tried) == 3


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nowhere://bucket/runs", "Protocol not known: nowhere; allowed: a path, or a URI that"),
        ("adl://bucket/runs", "needed: `pip install adlfs`, on every node"),
    ],
)
@pytest.mark.parametrize("verb", ["front", "export", "resume"])
def test_wrong_uri(uri: str, said: str, verb: str, tmp_path: Path, capsys: Any) -> None:
    options = {
        "front": ("--out", uri),
        "resume": ("--out", uri),
        "export": ("--pick", "knee", "--out", str(tmp_path / "new"), "--runs", uri),
    }
    assert main([verb, "one", *options[verb]]) == 2
    line = capsys.readouterr().err
    option = "--runs" if verb == "export" else "--out"
    assert line.startswith(f"sparsefront: {option}: value '{uri}': ") and line.count("\n") == 1
    assert said in line


def test_unknown_sweep_names_those_there_are(uri: str, kept: RunFolder, capsys: Any) -> None:
    for name in ("one", "two"):
        other = replace(kept, name=name)
        other.path.mkdir(parents=True)
        other.sweep_file.touch()
    assert main(["front", "three", "--out", uri]) == 2
    said = capsys.readouterr().err
    assert f"value 'three' not found in {uri}; known: one, two" in said
