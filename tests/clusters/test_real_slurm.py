"""clusters/slurm on a real SLURM: two nodes in network namespaces, Debian's packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import paths

pytestmark = [
    pytest.mark.long,
    pytest.mark.faults,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch", "munged"))),
        reason="needs Debian's packages slurmctld, slurmd, slurm-client and munge",
    ),
]
CONFIGURATION = """
ClusterName=lab
SlurmctldHost=node-1({addresses[0]})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MpiDefault=none
GresTypes=gpu
KillWait=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
NodeName=node-1 NodeAddr={addresses[0]} CPUs=2 RealMemory=6000 Gres=gpu:2
NodeName=node-2 NodeAddr={addresses[1]} CPUs=2 RealMemory=6000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES State=UP
"""
DEVICES = "Name=gpu File=/dev/null,/dev/zero\n"
"""Two GPUs a node, as far as SLURM counts them."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """Runs SLURM's commands on its first node, as a user in the checkout does."""

    inside: tuple[str, ...]
    environment: Mapping[str, str]

    def __call__(self, *command: object) -> str:
        done = subprocess.run(
            [*self.inside, *map(str, command)], env=dict(self.environment), cwd=paths.CHECKOUT,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, script: str, log: Path, *options: object, sweep: Path, name: str) -> int:
        runs = log.parent / "runs"
        said = self("sbatch", "--parsable", f"--output={log}", *options,
                    f"clusters/slurm/{script}", sweep, name, runs)  # fmt: skip
        return int(said)

    def state(self, job: int) -> str:
        """RUNNING 0:0, COMPLETED 0:0, FAILED 143:0 and others: the state and the exit status."""
        shown = self("scontrol", "show", "job", job)
        found = (re.search(rf"{name}=(\S+)", shown) for name in ("JobState", "ExitCode"))
        return " ".join(match[1] for match in found if match)


@pytest.fixture
def slurm(two_machines: Any, tmp_path: Path) -> Iterator[Slurm]:
    """Every node has two CPUs, two GPUs and 6000 MB. Skipped where slurmd finds no control groups
    that it knows.
    """
    folder = tmp_path / "slurm"
    for name in (".", "state", "spool-node-1", "spool-node-2"):
        (folder / name).mkdir(mode=0o755)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, addresses=two_machines.addresses)
    )
    (folder / "gres.conf").write_text(DEVICES)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
    environment = {
        **kept, "SLURM_CONF": str(folder / "slurm.conf"), "HOME": str(tmp_path),
        "PYTHONPATH": str(paths.CHECKOUT), "OMP_NUM_THREADS": "1",
        "OBJECT_STORE_BYTES": "200000000", "SPARSEFRONT_VENV": "/nonexistent",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []

    def start(which: int, name: str, *command: object) -> subprocess.Popen[bytes]:
        on_node = ("unshare", "--uts", "sh", "-c", f'hostname node-{which + 1}; exec "$@"', "sh")
        with open(folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [*joined(two_machines, which), *on_node, *map(str, command)],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        started.append(process)
        return process

    slurm = Slurm(inside=joined(two_machines, 0), environment=environment)
    try:
        start(0, "munged", "munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
              f"--key-file={folder}/munge.key", f"--pid-file={folder}/munged.pid",
              f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munge.log")  # fmt: skip
        until((folder / "munge.socket").exists, 20)
        start(0, "slurmctld", "slurmctld", "-D")
        nodes = [start(which, f"slurmd-{which + 1}", "slurmd", "-D") for which in range(2)]
        until(lambda: any(n.poll() is not None for n in nodes) or "2 idle" in idle(slurm), 90)
        if any(node.poll() is not None for node in nodes):
            said = (folder / "slurmd-1.log").read_text() + (folder / "slurmd-2.log").read_text()
            assert "cgroup" in said, said
            pytest.skip("slurmd does not start here: it finds no control groups that it knows")
        yield slurm
    finally:
        for process in started:
            process.kill()
            process.wait()


def joined(machines: Any, which: int) -> tuple[str, ...]:
    """Into a machine's network alone: `ip netns exec` would hide the control groups as well."""
    return ("nsenter", f"--net=/run/netns/{machines.names[which]}")


def ended(slurm: Slurm, job: int) -> bool:
    return slurm.state(job).startswith(("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"))


def idle(slurm: Slurm) -> str:
    try:
        return slurm("sinfo", "--noheader", "--states=idle", "--format=%D %t")
    except AssertionError:  # slurmctld does not answer yet
        return ""


def until(condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.2)


def commands(machines: Any, which: int, name: bytes) -> list[bytes]:
    """Command lines of a machine's processes that contain the name."""
    return [line for line in machines.commands(which) if name in line]


def trials_on(machines: Any) -> list[int]:
    """How many trials each machine is running."""
    return [len(commands(machines, which, b"ResourceTrainable")) for which in range(2)]


def results(log: Path, name: str) -> int:
    return len(list((log.parent / "runs" / name / "trials").glob("*/result.json")))


@pytest.fixture
def sweep(sweep_data: dict[str, Any], write_yaml: Any) -> Path:
    """Two trials at once, which take a node of two CPUs each."""
    sweep_data["trial"]["fine_tune"]["steps"] = 100
    return write_yaml({**sweep_data, "workers": 2, "cpus_per_trial": 2})


def test_job_of_whole_nodes_is_stopped_and_resumed(
    slurm: Slurm, two_machines: Any, sweep: Path, tmp_path: Path
) -> None:
    """A trial on each node; TERM to the script stops the sweep in order, the same line goes on, and
    nothing is left. Ray has the GPU that was asked for, not the other one of the node.
    """
    log = tmp_path / "job.log"
    line = ("exclusive.sh", log, "--nodes=2", "--gpus-per-node=1")
    first = slurm.submit(*line, sweep=sweep, name="tiny")
    until(lambda: trials_on(two_machines) == [1, 1], 150)
    for which in range(2):
        (raylet,) = commands(two_machines, which, b"static_resource_list")
        assert b"CPU,2,GPU,1," in raylet
    slurm("scancel", "--batch", "--signal=TERM", first)
    until(lambda: ended(slurm, first), 120)
    said = log.read_text()
    assert slurm.state(first) == "FAILED 143:0", said
    assert "sparsefront resume tiny" in said and "Traceback" not in said
    assert not any(commands(two_machines, which, b"raylet") for which in range(2))
    assert not Path(f"/tmp/ray-{first}").exists()

    second = slurm.submit(*line, sweep=sweep, name="tiny")
    until(lambda: ended(slurm, second), 300)
    assert slurm.state(second) == "COMPLETED 0:0", log.read_text()
    assert results(log, "tiny") == 4
    assert not any(commands(two_machines, which, b"raylet") for which in range(2))


def test_jobs_on_shared_nodes_leave_each_other_alone(
    slurm: Slurm, two_machines: Any, sweep: Path, tmp_path: Path
) -> None:
    """Two jobs on parts of the same two nodes. One is ended by its time limit's signal; the other
    one's Ray stays, and finishes.
    """
    one_cpu = sweep.with_name("one.yaml")
    one_cpu.write_text(sweep.read_text().replace("cpus_per_trial: 2", "cpus_per_trial: 1"))
    part = ("--nodes=2", "--cpus-per-task=1", "--mem=2G", "--gpus-per-node=1")
    ends, stays = (tmp_path / f"{name}.log" for name in ("ends", "stays"))
    limit = ("--time=2", "--signal=B:TERM@85")
    cut = slurm.submit("shared.sh", ends, *part, *limit, sweep=one_cpu, name="cut")
    kept = slurm.submit("shared.sh", stays, *part, sweep=one_cpu, name="kept")
    until(lambda: sum(len(commands(two_machines, w, b"static_res")) for w in range(2)) == 4, 120)
    for which in range(2):
        for raylet in commands(two_machines, which, b"static_resource_list"):
            assert b"CPU,1,GPU,1,memory,1947483648," in raylet
    until(lambda: ended(slurm, cut), 180)
    assert slurm.state(cut) == "FAILED 143:0", ends.read_text()
    assert "sparsefront resume cut" in ends.read_text()
    until(lambda: ended(slurm, kept), 300)
    assert slurm.state(kept) == "COMPLETED 0:0", stays.read_text()
    assert results(stays, "kept") == 4
