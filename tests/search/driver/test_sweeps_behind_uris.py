"""Whole sweeps whose machines share nothing but storage: a folder by URI, and an S3 on loopback.

Workers and driver have folders of their own in any case; another cache folder is another machine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.runs import one_driver
from sparsefront.search.runs.run_folder import RunFolder, run_folder
from tests.helpers.faults import check_complete, finished, kill_workers, spawn, wait_for, workers

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CACHE = "SPARSEFRONT_RUNS_CACHE"


@pytest.fixture
def killed(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> Iterator[tuple[RunFolder, Path]]:
    """A sweep as it lies in the storage after kill -9 of its driver with a trial finished and
    another one under way, and the cache of the machine that is no more.
    """
    kept, cache = RunFolder(runs=tmp_path / "storage", name="hurt"), tmp_path / "first"
    sweep_data["trial"]["fine_tune"]["steps"] = 20
    halving = {"rungs": [{"steps": 0}, {"steps": 4}], "reduction": 1.01}
    data = {**sweep_data, "trials": 4, "workers": 2, "halving": halving}
    words = ("sweep", write_yaml(data), "--name", "hurt", "--runs", kept.runs.as_uri())
    driver = spawn(*words, cwd=tmp_path, **{CACHE: str(cache)})
    try:
        wait_for(lambda: kept.finished() and under_way(kept), 200, driver, tmp_path / "driver.log")
        yield kept, cache
    finally:
        driver.kill()
        driver.wait()
        kill_workers(tmp_path)


def under_way(kept: RunFolder) -> list[int]:
    """Trials that have passed two rungs and not ended."""
    return [
        int(file.parent.name)
        for file in kept.trials.glob("*/checkpoint.json")
        if not (file.parent / "result.json").exists() and file.read_bytes().count(b'"frames"') == 2
    ]


@pytest.mark.faults
def test_sweep_goes_on_when_driver_and_disk_are_lost(
    killed: tuple[RunFolder, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Another machine goes on from the URI alone. Lost: of each trial under way, what came after
    its last rung.
    """
    kept, cache = killed
    (driver,) = (p for p in Path("/proc").glob("[0-9]*") if is_driver(p, tmp_path))
    os.kill(int(driver.name), 9)
    deadline = time.monotonic() + 60
    while workers(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    shutil.rmtree(cache)
    before, halfway = finished(kept), under_way(kept)
    checkpoints = {
        n: json.loads((kept.trial_dir(n) / "checkpoint.json").read_text()) for n in halfway
    }

    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    monkeypatch.setattr(one_driver, "LEASE_S", 10.0)
    monkeypatch.setattr(one_driver, "RENEW_S", 1.0)
    assert main(["resume", "hurt", "--runs", kept.runs.as_uri()]) == 0
    said = capsys.readouterr()
    assert "has a driver, process" in said.err
    records = run_folder(kept.runs.as_uri(), "hurt").mlflow_root / "mlflow.db"
    assert f"its records are in {records} of this machine" in said.err
    check_complete(kept, before, f"sqlite:///{records}")
    assert kept.finished() == list(range(4))
    for number, seen in checkpoints.items():
        result = json.loads((kept.trial_dir(number) / "result.json").read_text())
        assert result["intermediate_results"] == seen["intermediate_results"]
    assert not list(kept.path.rglob(".*")) and not (kept.path / "driver.json").exists()

    monkeypatch.setenv(CACHE, str(tmp_path / "third"))
    assert front(kept.runs.as_uri(), capsys) == front(str(kept.runs), capsys)
    assert not list((tmp_path / "third").rglob("*.safetensors"))


def is_driver(process: Path, mark: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"sparsefront.search.cli.main\0sweep\0" in words and str(mark).encode() in words


def front(runs: str, capsys: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["front", "hurt", "--json", "--runs", runs]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on loopback, and the environment that leads there."""
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "us",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        boto3.client("s3").create_bucket(Bucket="lab")
        yield "s3://lab/runs"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.faults
def test_sweep_in_s3_is_read_and_resumed_from_other_machines(
    bucket: str,
    sweep_data: dict[str, Any],
    write_yaml: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """Swept on one machine, read and exported on another, and nothing to do for a third."""
    halving = {"rungs": [{"steps": 0}], "reduction": 1.01}
    file = write_yaml({**sweep_data, "trials": 2, "workers": 2, "halving": halving})
    monkeypatch.setenv(CACHE, str(tmp_path / "first"))
    assert main(["sweep", str(file), "--name", "hurt", "--runs", "s3://nobodys/runs"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sparsefront: --runs: value 's3://nobodys/runs': cannot be read: ")
    assert "bucket does not exist" in said and said.count("\n") == 1

    assert main(["sweep", str(file), "--name", "hurt", "--runs", bucket]) == 0
    said = capsys.readouterr().out
    assert f"picture {bucket}/hurt/front.png" in said and f"--runs {bucket}" in said
    swept = front(bucket, capsys)

    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    assert front(bucket, capsys) == swept
    here = run_folder(bucket, "hurt")
    assert not list(here.runs.rglob("*.safetensors"))
    exported = tmp_path / "exported"
    words = ["export", "hurt", "--pick", "knee", "--runs", bucket, "--out", str(exported)]
    assert main(words) == 0
    assert {file.parent.name for file in here.runs.rglob("*.safetensors")} == {str(swept["knee"])}
    capsys.readouterr()
    assert main(["evaluate", str(exported), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["metrics"]
    points = {p["trial"]: p["metrics"] for p in swept["points"]}
    assert again == points[swept["knee"]]

    monkeypatch.setenv(CACHE, str(tmp_path / "third"))
    assert main(["resume", "hurt", "--runs", bucket]) == 0
    assert front(bucket, capsys) == swept


@pytest.mark.faults
def test_lost_storage_stops_the_sweep_in_order(
    killed: tuple[RunFolder, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep ends with one line and no trial fails; it goes on when the storage is back."""
    kept, cache = killed
    aside = kept.runs.rename(tmp_path / "aside")
    kept.runs.touch()  # neither to be read nor written
    deadline = time.monotonic() + 200
    while any(is_driver(p, tmp_path) for p in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    last = (tmp_path / "driver.log").read_text().splitlines()[-1]
    assert last.startswith("sparsefront: ") and "`sparsefront resume hurt --runs file://" in last
    kept.runs.unlink()
    aside.rename(kept.runs)
    assert not list(kept.trials.glob("*/failure.json"))
    before = finished(kept)
    monkeypatch.setenv(CACHE, str(cache))
    monkeypatch.setattr(one_driver, "LEASE_S", 10.0)
    monkeypatch.setattr(one_driver, "RENEW_S", 1.0)
    assert main(["resume", "hurt", "--runs", kept.runs.as_uri()]) == 0
    records = run_folder(kept.runs.as_uri(), "hurt").mlflow_root / "mlflow.db"
    check_complete(kept, before, f"sqlite:///{records}")
