"""A node of a real Ray cluster dies, or its link: two network namespaces on one machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import (
    CHECKOUT,
    Looks,
    check_complete,
    check_went_on,
    finished,
    under_way,
    wait_for,
)
from search.runs.run_store import RunFolder

pytestmark = [pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(900)]

RAY = (sys.executable, "-c", "from ray.scripts.scripts import main; main()")
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
EVERYBODY = {"rungs": [{"steps": 0}, {"steps": 4}], "reduction": 1.01}


@dataclass(frozen=True, kw_only=True)
class TwoNodes:
    """Names of the namespaces, of the link's end in the first, and the address of its Ray."""

    head: str
    other: str
    link: str
    address: str

    def pids(self, namespace: str) -> list[int]:
        return list(map(int, _ip("netns", "pids", namespace).split()))


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _refused() -> str | None:
    """Why two namespaces cannot be made, linked and entered here; None where they can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "they need root and iproute2"
    names = [f"sfp{side}{os.getpid() % 100000}" for side in "ab"]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "sfp", "netns", names[0], "type", "veth",
            "peer", "name", "sfp", "netns", names[1])  # fmt: skip
        _ip("-n", names[0], "link", "set", "sfp", "up")
        _ip("netns", "exec", names[0], "true")
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return None


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[TwoNodes]:
    """One CPU slot on each."""
    if (reason := _refused()) is not None:
        pytest.skip(f"no network namespaces here: {reason}")
    tag = f"{os.getpid() % 100000}"
    net = f"10.213.{os.getpid() % 250}"
    nodes = TwoNodes(head=f"sfh{tag}", other=f"sfo{tag}", link=f"sfl{tag}", address=f"{net}.1:6379")
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: it holds sockets
    try:
        for name in (nodes.head, nodes.other):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", nodes.link, "netns", nodes.head, "type", "veth",
            "peer", "name", "node", "netns", nodes.other)  # fmt: skip
        for name, link, last in ((nodes.head, nodes.link, 1), (nodes.other, "node", 2)):
            _ip("-n", name, "addr", "add", f"{net}.{last}/24", "dev", link)
            _ip("-n", name, "link", "set", link, "up")
        head = ("--head", "--port=6379", f"--node-ip-address={net}.1", f"--temp-dir={session}")
        _start_ray(nodes.head, tmp_path / "head.log", *head, "--include-dashboard=false")
        joins = (f"--address={nodes.address}", f"--node-ip-address={net}.2")
        _start_ray(nodes.other, tmp_path / "other.log", *joins)
        yield nodes
    finally:
        for name in (nodes.head, nodes.other):
            if name in _ip("netns", "list"):
                _kill(nodes.pids(name))
                _ip("netns", "del", name)
        shutil.rmtree(session, ignore_errors=True)


def _start_ray(namespace: str, log: Path, *options: str) -> None:
    command = [
        "ip", "netns", "exec", namespace, *RAY, "start", "--block", "--num-cpus=1",
        "--object-store-memory=100000000", *options,
    ]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    own = {"PYTHONPATH": str(CHECKOUT), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    with open(log, "w") as file:
        node = subprocess.Popen(
            command, env={**kept, **own, **HEALTH}, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    wait_for(lambda: "Ray runtime started" in log.read_text(), 90, node, log)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def both_under_way(run: RunFolder) -> Looks:
    """The trials under way once two are finished and two have passed a rung: one on each node."""
    found = under_way(run)
    return found if len(run.finished()) == 2 == len(found) else {}


@pytest.mark.parametrize("how", ["killed", "link down"])
def test_lost_node(two_nodes: TwoNodes, start: Any, run: RunFolder, log: Path, how: str) -> None:
    """Its trial goes on, on the node that is left. Lost: what came after its last rung."""
    inside = ("ip", "netns", "exec", two_nodes.head)
    steps = 200 if how == "killed" else 600  # a trial must not end there before anybody notices
    driver = start(
        "--address", two_nodes.address, steps=steps, trials=4, halving=EVERYBODY, prefix=inside
    )
    halfway = wait_for(lambda: both_under_way(run), 400, driver, log)
    before = finished(run)
    lost = time.monotonic()
    if how == "killed":
        _kill(two_nodes.pids(two_nodes.other))
    else:
        _ip("-n", two_nodes.head, "link", "set", two_nodes.link, "down")
    wait_for(lambda: "goes on after its last rung" in log.read_text(), 150, driver, log)
    print(f"noticed after {time.monotonic() - lost:.0f} s")
    assert driver.wait(400) == 0, log.read_text()
    assert run.finished() == list(range(4))
    check_complete(run, before)
    check_went_on(run, halfway)
