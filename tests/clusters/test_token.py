"""Joining a cluster: with its token by default, and one clear line where that does not work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.cli.main import main
from tests.helpers import paths

LAUNCH = paths.CHECKOUT / "clusters" / "launch.sh"
OWN_RAY = """
import os, sys
from pathlib import Path
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.connect import ray_connection

with ray_connection(None, read_sweep(sys.argv[1])):
    import ray, psutil  # ray brings psutil
    ray.get(ray.remote(lambda: 0).remote())
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        for at in process.net_connections():
            if at.status == psutil.CONN_LISTEN:
                print(at.laddr.ip)
    print(os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"]))
    assert not Path.home().joinpath(".ray").exists()
"""


@pytest.fixture
def launch(sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path) -> Any:
    """Runs clusters/launch.sh with a sweep of two trials, as a job does."""
    file = write_yaml({**sweep_data, "trials": 2})

    def run(cluster: Any, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [LAUNCH, file, "tiny", tmp_path / "runs", cluster.address],
            env={**cluster.environment, **variables}, cwd=tmp_path,
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_missing_token_is_told_before_any_connection(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, monkeypatch: Any, capsys: Any,
    content: str | None,
) -> None:  # fmt: skip
    """Neither in the environment nor in ~/.ray."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_NUM_REDIS_GET_RETRIES", "2")
    monkeypatch.setenv("HOME", str(tmp_path))
    if content is not None:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(content)
    out = tmp_path / "runs"
    assert (
        main(["sweep", str(write_yaml(sweep_data)), "--runs", str(out), "--address", "auto"]) == 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"no token of the cluster: {tmp_path}/.ray/auth_token" in said
    assert "RAY_AUTH_MODE=disabled" in said
    assert not out.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 64}, "the cluster refuses RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "disabled"}, "the cluster refuses no token (RAY_AUTH_MODE=disabled)"),
    ],
)
def test_wrong_or_no_token_is_refused_in_one_line(
    token_cluster: Any, launch: Any, tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    done = launch(token_cluster, **variables)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"sparsefront: --address: value {token_cluster.address!r}: {reason}")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_token_alone_joins_the_cluster(token_cluster: Any, launch: Any, tmp_path: Path) -> None:
    """RAY_AUTH_MODE unset: the token alone is enough. The same command again goes on."""
    secret = {"RAY_AUTH_TOKEN_PATH": str(token_cluster.token_path)}
    done = launch(token_cluster, **secret)
    assert done.returncode == 0, done.stderr
    assert "hypervolume" in done.stdout
    results = sorted((tmp_path / "runs" / "tiny" / "trials").glob("*/result.json"))
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in results]
    assert len(before) == 2
    again = launch(token_cluster, **secret)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[:2] == done.stdout.splitlines()[:2]
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in results] == before


def test_launch_without_its_arguments_says_how_it_is_used() -> None:
    done = subprocess.run([LAUNCH, "sweep.yaml"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: launch.sh SWEEP.yaml NAME RUNS")


@pytest.mark.long
def test_ray_of_a_sweep_listens_on_loopback_with_a_token(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """A sweep without --address: nothing listens beyond loopback, and it asks for a token."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment = {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(LAUNCH.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", OWN_RAY, write_yaml(sweep_data)], env=environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *listening, mode = done.stdout.splitlines()
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert mode == "token 64"
