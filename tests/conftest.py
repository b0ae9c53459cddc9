"""What tests share: a tiny procedural data set, the smallest model, a sweep file for both."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest
import torch
import yaml

from tests.helpers.tiny_sweep import TINY_MODEL, make_tiny_checkpoint, make_tiny_data, tiny_sweep

os.environ["SPARSEFRONT_STORES"] = tempfile.mkdtemp(prefix="sparsefront-stores-")
atexit.register(shutil.rmtree, os.environ["SPARSEFRONT_STORES"], ignore_errors=True)

KITTI_CALIBRATION = """P2: 100 0 50 0 0 100 20 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""
KITTI_CAR = "Car 0.00 0 0 40 10 60 55 1.5 1.6 4.0 2.0 1.7 20.0 -1.5707963"


@pytest.fixture(scope="session")
def tiny_model() -> dict[str, Any]:
    """Fields of the smallest model that runs."""
    return dict(TINY_MODEL)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A procedural data set: one training and one validation scene of two keyframes each."""
    return make_tiny_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def street_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with streets and their map."""
    from sparsefront.scenes.procedural import make_scenes

    root = tmp_path_factory.mktemp("data") / "street"
    make_scenes(
        root, num_scenes=2, seed=0, frames=2, workers=1, progress=False, val_every=2,
        street_map=True,
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the tiny model."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors")


@pytest.fixture
def sweep_data(tiny_root: Path, tiny_checkpoint: Path) -> dict[str, Any]:
    """A valid sweep as plain data: tests change a field and write it."""
    return tiny_sweep(tiny_root, tiny_checkpoint)


@pytest.fixture
def write_yaml(tmp_path: Path) -> Any:
    """Writes data as YAML under tmp_path and returns the path."""

    def write(data: object, name: str = "sweep.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@pytest.fixture
def kitti_root(tmp_path: Path) -> Path:
    """A synthetic KITTI frame: a car 20 m ahead and 2 m to the right, one point on it."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "training"
    for name in ("image_2", "velodyne", "calib", "label_2"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (112, 48)).save(folder / "image_2" / "000000.png")
    (folder / "calib" / "000000.txt").write_text(KITTI_CALIBRATION)
    (folder / "label_2" / "000000.txt").write_text(
        f"{KITTI_CAR}\nDontCare -1 -1 -10 0 0 5 5{' -1' * 7}\n"
    )
    np.array([[20.0, -2.0, -1.0, 0.5]], np.float32).tofile(folder / "velodyne" / "000000.bin")
    return tmp_path


REFUSALS = ("not permitted", "not supported", "ermission denied", "Unknown device type")
"""Words of a kernel that makes no network namespaces or links between them."""


@dataclass(frozen=True, kw_only=True)
class TwoMachines:
    """Names and IP addresses of two network namespaces, and the first one's end of their link."""

    names: tuple[str, str]
    addresses: tuple[str, str]
    link: str

    def inside(self, which: int) -> tuple[str, ...]:
        """What a command is put after to run there."""
        return ("ip", "netns", "exec", self.names[which])

    def pids(self, which: int) -> list[int]:
        return list(map(int, _ip("netns", "pids", self.names[which]).split()))

    def commands(self, which: int) -> list[bytes]:
        """Their command lines, with a zero byte between words."""
        found = []
        for pid in self.pids(which):
            try:
                found.append((Path("/proc") / str(pid) / "cmdline").read_bytes())
            except OSError:
                continue
        return found

    def kill(self, which: int) -> None:
        """kill -9 of every process there."""
        for pid in self.pids(which):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def cut(self) -> None:
        """Link down."""
        _ip("-n", self.names[0], "link", "set", self.link, "down")


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _linked(machines: TwoMachines) -> None:
    (a, b), far = machines.names, f"{machines.link}o"
    for name in (a, b):
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    _ip("link", "add", machines.link, "netns", a, "type", "veth", "peer", "name", far, "netns", b)
    ends = ((a, machines.link), (b, far))
    for (name, link), address in zip(ends, machines.addresses, strict=True):
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
        _ip("-n", name, "link", "set", link, "up")
        _ip("netns", "exec", name, "true")


@pytest.fixture
def two_machines() -> Iterator[TwoMachines]:
    """Two network namespaces with a link between them; at the end what runs there is killed."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("no network namespaces here: they need root and iproute2")
    tag, net = os.getpid() % 100000, f"10.213.{os.getpid() % 250}"
    machines = TwoMachines(
        names=(f"sfa{tag}", f"sfb{tag}"), addresses=(f"{net}.1", f"{net}.2"), link=f"sfl{tag}"
    )
    try:
        try:
            _linked(machines)
        except subprocess.CalledProcessError as error:
            if not any(word in error.stderr for word in REFUSALS):
                raise
            reason = f"{' '.join(error.cmd)}: {error.stderr.strip()}"
            pytest.skip(f"no network namespaces here: {reason}")
        yield machines
    finally:
        made = _ip("netns", "list")
        for which, name in enumerate(machines.names):
            if name in made:
                machines.kill(which)
                _ip("netns", "del", name)
