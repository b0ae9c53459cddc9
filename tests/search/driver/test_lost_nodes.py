"""A node of a real Ray cluster dies, or its link: two network namespaces on one machine."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.runs.run_folder import RunFolder
from tests.helpers import paths
from tests.helpers.faults import (
    Results,
    check_complete,
    check_went_on,
    finished,
    under_way,
    wait_for,
)

pytestmark = [pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(900)]

RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
EVERYBODY = {"rungs": [{"steps": 0}, {"steps": 4}], "reduction": 1.01}


@pytest.fixture
def address(two_machines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a Ray with a token, as `ray start` makes it, with one CPU slot on each machine. The driver
    has the token and, as a user's, no RAY_AUTH_MODE.
    """
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: it holds sockets
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    here, there = two_machines.addresses
    first = ("--head", "--port=6379", f"--node-ip-address={here}", f"--temp-dir={session}")
    joins = (f"--address={here}:6379", f"--node-ip-address={there}")
    try:
        _ray_started(two_machines, 0, tmp_path / "head.log", *first, "--include-dashboard=false")
        _ray_started(two_machines, 1, tmp_path / "other.log", *joins)
        yield f"{here}:6379"
    finally:
        for which in range(2):
            two_machines.kill(which)
        shutil.rmtree(session, ignore_errors=True)


def _ray_start(
    machines: Any, which: int, log: Path, *options: str, **other: str
) -> subprocess.Popen[bytes]:
    command = [
        *machines.inside(which), *RAY, "start", "--block", "--num-cpus=1",
        "--object-store-memory=100000000", *options,
    ]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    own = {
        "PYTHONPATH": str(paths.CHECKOUT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"],
    }  # fmt: skip
    with open(log, "w") as file:
        return subprocess.Popen(
            command, env={**kept, **own, **HEALTH, **other}, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip


def _ray_started(machines: Any, which: int, log: Path, *options: str) -> None:
    node = _ray_start(machines, which, log, *options)
    wait_for(lambda: "Ray runtime started" in log.read_text(), 90, node, log)


def both_under_way(run: RunFolder) -> Results:
    """The trials under way once two are finished and two have passed a rung: one on each node."""
    found = under_way(run)
    return found if len(run.finished()) == 2 == len(found) else {}


@pytest.mark.parametrize("how", ["killed", "link down"])
def test_trial_of_a_lost_node_goes_on_elsewhere(
    two_machines: Any, address: str, start: Any, run: RunFolder, log: Path, how: str
) -> None:
    """Its trial goes on, on the node that is left. Lost: what came after its last rung."""
    steps = 200 if how == "killed" else 600  # a trial must not end there before anybody notices
    driver = start(
        "--address", address, steps=steps, trials=4, halving=EVERYBODY,
        prefix=two_machines.inside(0),
    )  # fmt: skip
    halfway = wait_for(lambda: both_under_way(run), 400, driver, log)
    before = finished(run)
    lost = time.monotonic()
    if how == "killed":
        two_machines.kill(1)
    else:
        two_machines.cut()
    wait_for(lambda: "goes on after its last rung" in log.read_text(), 150, driver, log)
    print(f"noticed after {time.monotonic() - lost:.0f} s")
    assert driver.wait(400) == 0, log.read_text()
    assert run.finished() == list(range(4))
    check_complete(run, before)
    check_went_on(run, halfway)


@pytest.mark.parametrize("other", [{"RAY_AUTH_TOKEN": "f" * 64}, {"RAY_AUTH_MODE": "disabled"}])
def test_node_without_the_token_does_not_join(
    two_machines: Any, address: str, tmp_path: Path, other: dict[str, str]
) -> None:
    log = tmp_path / "refused.log"
    _, there = two_machines.addresses
    joins = (f"--address={address}", f"--node-ip-address={there}")
    node = _ray_start(
        two_machines, 1, log, *joins, RAY_gcs_rpc_server_reconnect_timeout_s="5", **other
    )
    try:
        assert node.wait(120) != 0
    finally:
        node.kill()
    assert "Unauthenticated" in log.read_text() and "Ray runtime started" not in log.read_text()
