"""What a sweep survives: real processes killed, disks filled, files damaged.

Nothing that was finished may be lost or change; of a trial under way at most one rung. A tiny sweep
with rungs before training, after 4 and after all 8 steps.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers.faults import (
    check_complete,
    check_went_on,
    finished,
    in_mid_trial,
    kill_workers,
    runs_of,
    spawn,
    under_way,
    wait_for,
    workers,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

EVERYBODY = {"rungs": [{"steps": 0}, {"steps": 4}], "reduction": 1.01}
"""Rungs, and nobody is stopped."""


def resume(run: RunFolder) -> int:
    return main(["resume", run.name, "--runs", str(run.runs)])


def kill_all(driver: subprocess.Popen[bytes], mark: Path) -> None:
    """kill -9 of a driver and of its workers, which would live on for seconds."""
    driver.kill()
    kill_workers(mark)
    driver.wait()


@pytest.mark.faults
def test_killed_driver_loses_no_rung(start: Any, run: RunFolder, log: Path) -> None:
    """kill -9 of everything, the driver first. Lost: of each trial under way, what came after its
    last rung.
    """
    driver = start(steps=60, trials=3, workers=1, halving=EVERYBODY)
    halfway = wait_for(lambda: in_mid_trial(run), 250, driver, log)
    kill_all(driver, log.parent)
    again = ["sweep", str(log.parent / "sweep.yaml"), "--name", run.name, "--runs", str(run.runs)]
    assert main(again) == 2  # only `resume` goes on with it
    wait_for_none(log.parent)
    before = finished(run)
    assert resume(run) == 0
    check_complete(run, before)
    check_went_on(run, halfway)
    after = finished(run)
    assert resume(run) == 0
    check_complete(run, after)


def wait_for_none(mark: Path) -> None:
    """Until Ray has ended the workers of a driver that was killed."""
    alive = subprocess.Popen(["sleep", "60"])
    try:
        wait_for(lambda: not workers(mark), 50, alive, mark / "driver.log")
    finally:
        alive.kill()
        alive.wait()


@pytest.mark.faults
def test_killed_workers_lose_no_rung(start: Any, run: RunFolder, log: Path) -> None:
    """kill -9 of all worker processes. Lost: what came after the last rung of their trials, which
    go on in new processes; none fails.
    """
    driver = start(steps=60, trials=4, halving=EVERYBODY)
    halfway = wait_for(lambda: in_mid_trial(run), 250, driver, log)
    before = finished(run)
    assert kill_workers(log.parent) >= 1
    assert driver.wait(200) == 0, log.read_text()
    check_complete(run, before)
    assert run.finished() == list(range(4))
    assert "goes on after its last rung" in log.read_text()
    check_went_on(run, halfway)


@pytest.mark.faults
def test_worker_that_always_dies_fails_its_trial_alone(
    start: Any, run: RunFolder, log: Path
) -> None:
    """As often as max_restarts allows, then the trial is failed with Ray's reason; others go on.
    Lost: that trial.
    """
    driver = start(steps=50, trials=2, workers=1, max_restarts=1, halving=None)
    file = run.trial_dir(0) / "failure.json"

    def died() -> bool:
        """Ray itself starts one again that was killed while it was starting."""
        kill_workers(log.parent)
        return log.read_text().count("goes on after") == 1

    def failed() -> bool:
        return file.is_file() or (kill_workers(log.parent) > 0 and file.is_file())

    wait_for(died, 250, driver, log)
    wait_for(failed, 250, driver, log)
    assert driver.wait(250) == 0, log.read_text()
    failure = json.loads(file.read_text())["reason"]
    assert "\n" not in failure and failure.count("occurred at") == 0
    assert run.finished() == [1]
    check_complete(run, {})


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tell", [os.killpg, os.kill], ids=["group", "process"])
def test_interrupted_driver_stops_in_order_and_resumes(
    start: Any, run: RunFolder, log: Path, tell: Callable[[int, int], None], number: signal.Signals
) -> None:
    """Ctrl-C (the whole group hears it) or `kill`, as of a pod (the driver alone): within seconds
    no process is left, one line says how to go on. Lost: as with kill -9.
    """
    driver = start(steps=60, trials=3, halving=EVERYBODY)
    halfway = wait_for(lambda: in_mid_trial(run), 250, driver, log)
    tell(driver.pid, number)
    assert driver.wait(30) == 1, log.read_text()
    ours = [line for line in log.read_text().splitlines() if line.startswith("sparsefront:")]
    assert ours == [  # Ray's core may add lines of its own while it ends
        f"sparsefront: interrupted; `sparsefront resume hurt --runs {run.runs}` "
        "goes on with the sweep"
    ]
    assert "Traceback" not in log.read_text()
    wait_for_none(log.parent)
    parents, children = runs_of(run.runs)
    assert [p.info.status for p in parents] == ["KILLED"]
    assert "RUNNING" not in {c.info.status for c in children}
    before = finished(run)
    assert resume(run) == 0
    check_complete(run, before)
    check_went_on(run, halfway)


@pytest.mark.faults
def test_second_driver_is_refused(start: Any, run: RunFolder, log: Path, capsys: Any) -> None:
    """The second is refused in one line, and the first one does not notice."""
    driver = start(steps=60, trials=4, halving=EVERYBODY)
    wait_for(lambda: under_way(run), 250, driver, log)
    before = finished(run)
    capsys.readouterr()
    assert resume(run) == 2
    said = capsys.readouterr().err
    assert said == f"sparsefront: sweep 'hurt' is running already in {run.path}\n"
    processes = set(workers(log.parent))
    while driver.poll() is None:
        processes |= set(workers(log.parent))
        time.sleep(0.2)
    assert driver.returncode == 0, log.read_text()
    check_complete(run, before)
    assert len(processes) <= 2  # one a worker, for four trials


@pytest.mark.faults
def test_of_two_that_resume_one_goes_on(start: Any, run: RunFolder, log: Path) -> None:
    """Started in the same moment after a crash: one goes on, the other is refused."""
    driver = start(steps=60, trials=4, halving=EVERYBODY)
    wait_for(lambda: in_mid_trial(run), 250, driver, log)
    kill_all(driver, log.parent)
    wait_for_none(log.parent)
    before = finished(run)
    both = [spawn("resume", "hurt", "--runs", run.runs, cwd=log.parent) for _ in range(2)]
    assert sorted(one.wait(300) for one in both) == [0, 2], log.read_text()
    assert f"sweep 'hurt' is running already in {run.path}" in log.read_text()
    check_complete(run, before)


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["tensors", "json"])
def test_trial_of_a_corrupt_checkpoint_starts_again(
    start: Any, run: RunFolder, log: Path, damage: str
) -> None:
    """The trial starts again from its beginning and says so. Lost: that trial's rungs."""
    driver = start(steps=60, trials=3, halving=EVERYBODY)
    wait_for(lambda: in_mid_trial(run), 250, driver, log)
    kill_all(driver, log.parent)
    wait_for_none(log.parent)
    before = finished(run)
    number, _seen = max(under_way(run).items(), key=lambda trial: len(trial[1]))
    name = "checkpoint.json" if damage == "json" else "checkpoint-*.safetensors"
    (file,) = run.trial_dir(number).glob(name)
    file.write_bytes(file.read_bytes()[:200])
    assert resume(run) == 0
    check_complete(run, before)
    result = json.loads((run.trial_dir(number) / "result.json").read_text())
    again = [n for n in result["notes"] if n.startswith("checkpoint not readable, started again: ")]
    assert len(again) == 1, result["notes"]
    assert [rung["steps"] for rung in result["intermediate_results"]] == [0, 4]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"fine_tune.lr": {"choices": [1e-3, 1e30]}}, "not finite"),
        ({"allocation.min_keep": {"choices": [1, 10_000_000]}}, "min_keep 10000000 needs"),
    ],
)
def test_failing_trial_fails_once_with_its_reason(
    start: Any, run: RunFolder, log: Path, space: dict[str, Any], reason: str
) -> None:
    """Not finite, raising: failed once with the reason. Lost: that trial."""
    driver = start(trials=2, space=space)
    assert driver.wait(150) == 0, log.read_text()
    (failed,) = (json.loads(p.read_text())["reason"] for p in run.trials.glob("*/failure.json"))
    assert reason in failed
    assert "goes on after its last rung" not in log.read_text()
    check_complete(run, {})


@pytest.fixture
def small_disk(run: RunFolder) -> Iterator[Path]:
    """A file system of 600 kB where the trials' folders go."""
    run.trials.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(run.trials)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield run.trials
    subprocess.run(["umount", "--lazy", str(run.trials)], check=True)


@pytest.mark.faults
def test_full_disk_stops_the_sweep_in_order(
    start: Any, run: RunFolder, log: Path, small_disk: Path
) -> None:
    """The sweep stops with one line instead of failing trial after trial. Lost: of the trials
    under way, what came after their last rungs.
    """
    driver = start(halving=EVERYBODY)
    assert driver.wait(200) == 1, log.read_text()
    last = log.read_text().splitlines()[-1]
    assert last.startswith("sparsefront: no space left on ")
    assert last.endswith(
        f"free some, then `sparsefront resume hurt --runs {run.runs}` goes on with the sweep"
    )
    assert "Traceback" not in log.read_text()
    assert not list(small_disk.glob("*/failure.json"))
    wait_for_none(log.parent)
    assert [p.info.status for p in runs_of(run.runs)[0]] == ["KILLED"]
    before = finished(run)
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    assert resume(run) == 0
    check_complete(run, before)
    assert run.finished() == list(range(6))
