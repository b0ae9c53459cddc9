"""clusters/ray_up/on_premise.yaml, really started: two machines with an sshd of their own."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import paths
from tests.helpers.faults import wait_for

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.long,
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        SSHD is None or shutil.which("rsync") is None,
        reason="needs Debian's packages openssh-server and rsync",
    ),
]
ALONE = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
PRIVATE_HOME = "mount -t overlay none -o lowerdir={home},upperdir={name},workdir={name}-work {home}"
MACHINE = """set -e
hostname {name}
mount --make-rprivate /
cd {folder}
{private_home}
rm -rf {home}/.ray
echo 'PATH={folder}/opt/.venv/bin:$PATH' >> {home}/.bashrc
mkdir -p /tmp/ray /run/sshd && mount -t tmpfs none /tmp/ray
exec {sshd} -D -e -f {folder}/sshd_config
"""
LAPTOP = """set -euo pipefail
mount --make-rprivate /
mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray
ray up --yes on_premise.yaml
status="RAY_AUTH_MODE=token {opt}/.venv/bin/ray status"
both() {{ ray exec on_premise.yaml "$status" | grep "^ 2 local.cluster.node"; }}
for _ in $(seq 20); do if both; then break; fi; sleep 2; done
both || {{ ray exec on_premise.yaml "tail -n 60 /tmp/ray/session_latest/logs/monitor*"; exit 1; }}
ray exec on_premise.yaml \\
  'cd {opt} && PATH=$PWD/.venv/bin:$PATH clusters/launch.sh {sweep} tiny {folder}/runs'
ray down --yes on_premise.yaml
"""


@pytest.fixture
def machines(two_machines: Any, tmp_path: Path) -> Iterator[Any]:
    """Each with a home folder and processes of its own, and the same key that opens both."""
    folders = ("opt", "laptop/.ray", "machine-1", "machine-2", "machine-1-work", "machine-2-work")
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "opt" / ".venv").symlink_to(sys.prefix)
    (tmp_path / "opt" / "clusters").symlink_to(paths.CHECKOUT / "clusters")
    for name in ("key", "host"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True
        )
    (tmp_path / "sshd_config").write_text(
        f"HostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/key.pub\nStrictModes no\n"
        "PermitRootLogin prohibit-password\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    home = pwd.getpwuid(0).pw_dir
    tried = subprocess.run(
        [*ALONE, "sh", "-c", PRIVATE_HOME.format(home=home, name="machine-1")],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    if tried.returncode != 0:
        pytest.skip(f"the kernel gives a machine no home of its own here: {tried.stderr.strip()}")
    started = []
    try:
        for which in range(2):
            name = f"machine-{which + 1}"
            script = MACHINE.format(
                name=name, sshd=SSHD, folder=tmp_path, home=home,
                private_home=PRIVATE_HOME.format(home=home, name=name),
            )  # fmt: skip
            log = tmp_path / f"{name}.log"
            with open(log, "wb") as file:
                process = subprocess.Popen(
                    [*two_machines.inside(which), *ALONE, "bash", "-c", script],
                    stdout=file, stderr=file, env={"PATH": os.environ["PATH"]},
                )  # fmt: skip
            started.append(process)
            wait_for(partial(_listens, log), 30, process, log)
        yield two_machines
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_ray_up_starts_both_machines_and_ray_down_ends_them(
    machines: Any, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """The commands of the page: both machines join with the token, each runs a trial, and nothing
    is left.
    """
    sweep_data["trial"]["fine_tune"]["steps"] = 60  # so that one machine cannot take them all
    sweep = write_yaml({**sweep_data, "workers": 2, "cpus_per_trial": os.cpu_count()})
    first, second = machines.addresses
    cluster = (paths.CHECKOUT / "clusters" / "ray_up" / "on_premise.yaml").read_text()
    for ours, theirs in (
        ("10.0.0.1", first), ("[10.0.0.2, 10.0.0.3]", f"[{second}]"), ("workers: 2", "workers: 1"),
        ("ssh_user: sparsefront", "ssh_user: root"), ("~/.ssh/id_ed25519", f"{tmp_path}/key"),
        ("/opt/sparsefront", f"{tmp_path}/opt"),
    ):  # fmt: skip
        assert ours in cluster
        cluster = cluster.replace(ours, theirs)
    (tmp_path / "on_premise.yaml").write_text(cluster)
    token = tmp_path / "laptop" / ".ray" / "auth_token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    script = LAPTOP.format(opt=tmp_path / "opt", sweep=sweep, folder=tmp_path)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb",
        "HOME": str(tmp_path / "laptop"), "RAY_UP_enable_autoscaler_v2": "0",
    }  # fmt: skip
    with open(tmp_path / "laptop.log", "w") as log:
        laptop = subprocess.Popen(
            [*machines.inside(0), *ALONE, "bash", "-c", script], cwd=tmp_path, env=environment,
            stdout=log, stderr=log,
        )  # fmt: skip
    file = tmp_path / "laptop.log"
    for which in range(2):
        wait_for(partial(_runs, b"ResourceTrainable", machines, which), 300, laptop, file)
    assert laptop.wait(300) == 0, file.read_text()
    assert "hypervolume" in file.read_text()
    assert len(list((tmp_path / "runs" / "tiny" / "trials").glob("*/result.json"))) == 4
    deadline = time.monotonic() + 120
    while any(_runs(b"raylet", machines, which) for which in range(2)):
        assert time.monotonic() < deadline, "Ray is left"
        time.sleep(1)


def _listens(log: Path) -> bool:
    return "Server listening" in log.read_text()


def _runs(name: bytes, machines: Any, which: int) -> bool:
    return any(name in line for line in machines.commands(which))
