"""Every other file of clusters/: `ray up` by Ray's schema, shell by shellcheck, the Dockerfile by
hadolint, the sweep file by sparsefront itself, and all of them together."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.version import Version

from tests.helpers import paths

CLUSTERS = paths.CHECKOUT / "clusters"
TOOLS = Path(sys.executable).parent
RAY_UP = sorted((CLUSTERS / "ray_up").glob("*.yaml"))
PAGES = sorted(CLUSTERS.rglob("README.md"))


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / name), *map(str, arguments)]
    return subprocess.run(command, cwd=paths.CHECKOUT, capture_output=True, text=True, timeout=60)


def ray_up(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file before it starts anything; raises where it would refuse."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("file", RAY_UP, ids=lambda p: p.stem)
def test_ray_up_takes_its_files(file: Path) -> None:
    prepared = ray_up(yaml.safe_load(file.read_text()))
    for role in ("head", "worker"):
        (start,) = [c for c in prepared[f"{role}_start_ray_commands"] if "ray start" in c]
        assert "RAY_AUTH_MODE=token" in start
        assert "0.0.0.0" not in start
    assert "--dashboard-host=127.0.0.1" in prepared["head_start_ray_commands"][1]
    assert prepared["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


def test_token_and_gpus_reach_the_container(tmp_path: Path) -> None:
    """Ray's own code starts the container of aws.yaml from our image's environment; the instance
    is made up. The token lies where `~` of setup commands is, and NVIDIA's runtime has to give
    GPUs.
    """
    from ray.autoscaler._private.command_runner import DockerCommandRunner

    config = yaml.safe_load((CLUSTERS / "ray_up" / "aws.yaml").read_text())
    text = (CLUSTERS / "image" / "Dockerfile").read_text().replace("\\\n", " ")
    env = [e for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE) for e in line.split()]
    said: list[str] = []

    def run(command: str | None = None, **_options: Any) -> bytes:
        said.append(str(command))
        if "Config.Env" in said[-1]:
            return json.dumps(env).encode()
        if "printenv HOME" in said[-1]:
            return next(e for e in env if e.startswith("HOME=")).removeprefix("HOME=").encode()
        return b"nvidia-container-runtime" if ".Runtimes" in said[-1] else b"false"

    docker = DockerCommandRunner(
        config["docker"], log_prefix="", node_id="node", provider=None, cluster_name="sparsefront",
        auth_config={"ssh_user": "ubuntu"}, process_runner=None, use_internal_ip=False,
    )  # fmt: skip
    docker.ssh_command_runner.run = run
    docker.run_init(as_head=False, file_mounts=config["file_mounts"], sync_run_yet=True)
    (start,) = [command for command in said if command.startswith("docker run ")]
    home = docker._docker_expand_user("~/.ray/auth_token")
    assert home == "/home/sparsefront/.ray/auth_token" and f":{home} " in start
    assert "--runtime=nvidia" in start and "-e NVIDIA_VISIBLE_DEVICES=all" in start


def test_ray_up_mistakes_are_found() -> None:
    config = yaml.safe_load((CLUSTERS / "ray_up" / "aws.yaml").read_text())
    config["idle_timeout_minuts"] = 10
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        ray_up(config)


def test_scripts_pass_shellcheck_and_are_executable() -> None:
    scripts = [*sorted(CLUSTERS.rglob("*.sh")), paths.CHECKOUT / ".ci" / "run"]
    assert len(scripts) >= 4
    done = tool("shellcheck", *scripts)
    assert done.returncode == 0, done.stdout
    for script in scripts:
        assert script.stat().st_mode & 0o111, f"{script} is not executable"


def test_dockerfile_passes_hadolint(tmp_path: Path) -> None:
    file = CLUSTERS / "image" / "Dockerfile"
    done = tool("hadolint", file)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "Dockerfile"
    broken.write_text(
        file.read_text().replace("COPY sparsefront sparsefront", "COPI sparsefront sparsefront")
    )
    assert tool("hadolint", broken).returncode != 0


def test_image_holds_what_it_copies() -> None:
    """What is copied exists and is not left out of the build's context."""
    file = CLUSTERS / "image" / "Dockerfile"
    kept = {
        line[1:]
        for line in file.with_name("Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (.+)$", file.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == kept
    assert all((paths.CHECKOUT / source).exists() for source in copied)
    project = tomllib.loads((paths.CHECKOUT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied
    release = Version(project["project"]["version"]).base_version  # 0.2.0 of 0.2.0.dev0
    assert f"sparsefront:{release}-gpu" in file.read_text()


def test_sweep_file_is_read_and_has_the_mounted_paths() -> None:
    """Read as `sweep` reads it; its paths are those that every page mounts."""
    from sparsefront.search.config.sweep_file import read_sweep

    sweep = read_sweep(CLUSTERS / "sweep.yaml")
    assert sweep.gpus_per_trial == 0.5
    assert sweep.trial.checkpoint.startswith("/shared/")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.parent.name)
def test_pages_name_what_exists(page: Path) -> None:
    """Files and verbs in the commands of a page."""
    text = page.read_text()
    for path in re.findall(r"\bclusters/[\w./-]*\w", text):
        assert (paths.CHECKOUT / path).exists(), path
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    known = {"check", "sweep", "resume", "front", "export", "model"}
    assert set(re.findall(r"^ +(?:.*; )?sparsefront ([a-z]+)", text, re.MULTILINE)) <= known
