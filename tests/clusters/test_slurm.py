"""clusters/slurm/shared.sh on one machine: SLURM's commands replaced, Ray and the sweep real."""

from __future__ import annotations

import os
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = "#!/usr/bin/env bash\necho node-1\n"


@pytest.fixture
def job(
    token_cluster: Any, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> dict[str, Any]:
    """What starts shared.sh as a job of one node, next to another Ray on the same machine."""
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
    }
    sweep = write_yaml({**sweep_data, "trials": 2})
    script = CHECKOUT / "clusters" / "slurm" / "shared.sh"
    command = ["bash", script, sweep, "shared", tmp_path / "runs"]
    return {"args": list(map(str, command)), "env": environment, "cwd": CHECKOUT}


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


@pytest.mark.long
@pytest.mark.skipif(find_spec("grpc") is None, reason="needs the extra `cluster`: ray[default]")
@pytest.mark.parametrize("cancelled", [False, True])
def test_shared_nodes(
    token_cluster: Any, job: dict[str, Any], tmp_path: Path, cancelled: bool
) -> None:
    """Ends with nothing of its own left, and with the other Ray alive, also when cancelled."""
    temporary = f"/tmp/ray-{job['env']['SLURM_JOB_ID']}"
    other = processes_of(f"--gcs-address={token_cluster.address}")
    assert other
    running = subprocess.Popen(
        **job, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    if cancelled:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if "scoring the dense model" in line:
                break
        assert running.poll() is None, said
        os.killpg(running.pid, signal.SIGTERM)
    out, errors = running.communicate(timeout=240)
    if cancelled:
        assert running.returncode != 0
    else:
        assert running.returncode == 0, errors
        assert "hypervolume" in out
        assert len(list((tmp_path / "runs" / "shared" / "trials").glob("*/result.json"))) == 2
    assert not processes_of(temporary)
    assert not Path(temporary).exists()
    assert processes_of(f"--gcs-address={token_cluster.address}") == other
