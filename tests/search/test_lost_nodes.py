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

from benchmarks.faults import CHECKOUT, check_complete, finished, wait_for
from search.runs.run_store import RunFolder, has_ended

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


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[TwoNodes]:
    """One CPU slot on each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
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


def both_under_way(run: RunFolder) -> bool:
    """Two trials have passed a rung and go on: one on each node."""
    return sum(not has_ended(f.parent) for f in run.trials.glob("*/checkpoint.json")) == 2


@pytest.mark.parametrize("how", ["killed", "link down"])
def test_lost_node(two_nodes: TwoNodes, start: Any, run: RunFolder, log: Path, how: str) -> None:
    """Its trial goes on, on the node that is left. Lost: what came after its last rung."""
    inside = ("ip", "netns", "exec", two_nodes.head)
    driver = start(
        "--address", two_nodes.address, steps=600, trials=4, halving=EVERYBODY, prefix=inside
    )
    wait_for(lambda: len(run.finished()) == 2 and both_under_way(run), 400, driver, log)
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
