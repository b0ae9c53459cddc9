"""clusters/slurm on one node without a SLURM: its commands replaced, Ray and the sweep real."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import paths

pytestmark = [
    pytest.mark.long,
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("grpc") is None, reason="needs the extra `cluster`: ray[default]"),
]
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = "#!/usr/bin/env bash\necho node-1\n"


@pytest.fixture
def job(token_cluster: Any, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path) -> Any:
    """What starts a script as a job of one node, next to another Ray on the same machine."""
    shims = tmp_path / "bin"
    shims.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (shims / name).write_text(text)
        (shims / name).chmod(0o755)
    environment = {
        **token_cluster.environment,
        "PATH": f"{shims}:{token_cluster.environment['PATH']}",
        "SPARSEFRONT_VENV": "/nonexistent",
        "HEAD_IP": "127.0.0.1",
        "OBJECT_STORE_BYTES": "200000000",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node-1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_CPUS_ON_NODE": "2",
        "SLURM_MEM_PER_NODE": "8192",
    }
    sweep = write_yaml({**sweep_data, "trials": 2})

    def start(name: str) -> subprocess.Popen[str]:
        script = paths.CHECKOUT / "clusters" / "slurm" / name
        command = ["bash", script, sweep, "tiny", tmp_path / "runs"]
        return subprocess.Popen(
            list(map(str, command)), env=environment, cwd=paths.CHECKOUT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    return start


def command_of(process: int) -> bytes:
    return (Path("/proc") / str(process) / "cmdline").read_bytes()


def processes_of(temporary: str) -> list[int]:
    """Ray's processes that were started with this temporary folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if temporary.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def under_way(job: subprocess.Popen[str]) -> None:
    """Until its sweep has begun."""
    assert job.stderr is not None
    said = []
    for line in job.stderr:
        said.append(line)
        if "scoring the dense model" in line:
            break
    assert job.poll() is None, said


def ends_in_order(job: subprocess.Popen[str]) -> None:
    """TERM to the script alone, as `--signal=B:TERM` and `scancel --batch` send it: the sweep stops
    itself and says how to go on.
    """
    job.terminate()
    _, errors = job.communicate(timeout=200)
    assert job.returncode == 143, errors
    assert "sparsefront resume tiny" in errors
    assert "Traceback" not in errors


def goes_on(job: subprocess.Popen[str], runs: Path) -> None:
    out, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    assert "hypervolume" in out
    assert len(list((runs / "tiny" / "trials").glob("*/result.json"))) == 2


@pytest.mark.parametrize("script", ["exclusive.sh", "shared.sh"])
def test_stopped_job_is_resumed_and_leaves_nothing(
    token_cluster: Any, job: Any, tmp_path: Path, script: str
) -> None:
    """Each time nothing of its own is left, and the other Ray is alive."""
    temporary = f"/tmp/ray-{os.getpid()}"
    other = processes_of(f"--gcs-address={token_cluster.address}")
    assert other
    first = job(script)
    under_way(first)
    raylets = [p for p in processes_of(temporary) if b"memory," in command_of(p)]
    assert raylets and all(b",memory,8389934592" in command_of(p) for p in raylets)
    ends_in_order(first)
    assert not processes_of(temporary)
    assert not Path(temporary).exists()

    goes_on(job(script), tmp_path / "runs")
    assert not processes_of(temporary)
    assert not Path(temporary).exists()
    assert processes_of(f"--gcs-address={token_cluster.address}") == other


def test_ray_that_did_not_start_ends_the_job(job: Any, tmp_path: Path) -> None:
    (tmp_path / "bin" / "ray").write_text("#!/usr/bin/env bash\nexit 1\n")
    (tmp_path / "bin" / "ray").chmod(0o755)
    started = job("exclusive.sh")
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "Ray did not start on 127.0.0.1:" in errors
