"""The verbs front and ui: what they write, and one line for what they cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from sparsefront.files.atomic import write_json
from sparsefront.search.cli.main import main
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers import paths

POINTS = [(0.8, 9.0, 0.5), (0.7, 5.0, 0.5), (0.6, 6.0, 0.4)]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that says what is wrong."""
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("sparsefront:")]
    assert len(lines) == 1
    return lines[0]


def test_front_writes_what_is_asked_for(
    stored_sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_sweep("one", POINTS)
    place = tmp_path / "saved"
    files = ["--plot", place / "x.png", "--html", place / "x.html", "--table", place / "x.parquet"]
    assert (
        main(["front", "one", "--json", "--sketch", *map(str, files), "--runs", str(run.runs)]) == 0
    )
    printed = capsys.readouterr()
    assert [p["trial"] for p in json.loads(printed.out)["points"]] == [0, 1]
    assert sorted(p.name for p in place.iterdir()) == ["x.html", "x.parquet", "x.png"]
    assert parquet.read_table(place / "x.parquet").num_rows == 3


def test_several_fronts_are_laid_over_one_another(
    stored_sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_sweep("one", POINTS)
    run = stored_sweep("two", POINTS[:1])
    out = ["--runs", str(run.runs)]
    for suffix in ("png", "html"):
        assert main(["front", "one", "two", "--plot", str(tmp_path / f"x.{suffix}"), *out]) == 0
        assert (tmp_path / f"x.{suffix}").stat().st_size > 10_000
    assert "difference to one" in capsys.readouterr().out
    assert main(["front", "one", "two", "--json", *out]) == 0
    assert len(json.loads(capsys.readouterr().out)["sweeps"]) == 2


def test_wrong_input_is_told_in_one_line(
    stored_sweep: Any, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stored_sweep("one", POINTS)
    stored_sweep("empty", [])
    stored_sweep("two", POINTS, of=replace(sweep, objectives=["mAP", "GFLOPs"]))
    file = tmp_path / "file"
    file.write_text("")
    for arguments, named in (
        (["front", "nosuch"], "'nosuch' not found"),
        (["front"], "known in"),
        (["front", "one", "two"], "sweeps of the same objectives"),
        (["front", "one", "one"], "each sweep once"),
        (["front", "one", "--plot", "x.gif"], ".png or .html"),
        (["front", "one", "--html", "x.pdf"], "ending in .html"),
        (["front", "one", "--table", "x.csv"], "ending in .parquet"),
        (["front", "one", "--html", str(file / "x.html")], "cannot be written"),
        (["front", "one", "two", "--charts", str(tmp_path)], "is of one sweep"),
        (["front", "empty", "--html", str(tmp_path / "x.html")], "no finished trial yet"),
        (["ui", "nosuch"], "'nosuch' not found"),
        (["ui", "one"], "no MLflow page yet"),
    ):
        assert main([*arguments, "--runs", str(run.runs)]) == 2
        assert named in said(capsys)
    assert not (tmp_path / "x.html").exists()


def with_mlflow_records(run: RunFolder, uri: str) -> RunFolder:
    """As a driver leaves it beside its MLflow records."""
    write_json(run.launch_file, {"run_id": "x", "address": None, "tracking_uri": uri})
    page = "#/experiments/1/runs/abc?workflowType=machine_learning"
    write_json(run.mlflow_file, {"mlflow": f"mlflow ui\n then http://127.0.0.1:5000/{page}"})
    return run


@pytest.mark.long
def test_ui_answers_and_leaves_nothing_behind(stored_sweep: Any) -> None:
    from sparsefront.search.reports.mlflow_store import make_database

    run = with_mlflow_records(stored_sweep("one", POINTS), "sqlite:////nowhere/mlflow.db")
    make_database(run.runs / "mlflow.db")
    driver = subprocess.Popen(
        [sys.executable, "-m", "sparsefront.search.cli.main", "ui", "one", "--runs", str(run.runs)],
        stdout=subprocess.PIPE, text=True, cwd=paths.CHECKOUT,
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        link = driver.stdout.readline().strip()
        assert link.startswith("http://127.0.0.1:") and link.endswith("machine_learning")
        with urllib.request.urlopen(link.partition("#")[0], timeout=10) as answer:
            assert answer.status == 200
        started = session_of(driver.pid)
        assert started
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=30) == 0
    finally:
        driver.kill()
        driver.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, started))


def session_of(parent: int) -> list[int]:
    """Processes of the sessions that a process's children lead."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent or (int(fields[3]) != os.getsid(0) and int(fields[1]) in found):
            found.append(int(stat.parent.name))
    return found


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
