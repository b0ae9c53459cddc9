"""What tests share: a tiny procedural data set, the smallest model, a sweep file for both."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest
import torch
import yaml

os.environ["SPARSEFRONT_STORES"] = tempfile.mkdtemp(prefix="sparsefront-stores-")
atexit.register(shutil.rmtree, os.environ["SPARSEFRONT_STORES"], ignore_errors=True)

KITTI_CALIBRATION = """P2: 100 0 50 0 0 100 20 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""
KITTI_CAR = "Car 0.00 0 0 40 10 60 55 1.5 1.6 4.0 2.0 1.7 20.0 -1.5707963"

TINY_MODEL = {
    "name": "bevfusion-small",
    "image_channels": [8, 8, 8],
    "image_blocks": [1, 1, 1],
    "neck_channels": 8,
    "depth_bins_m": [1.0, 41.0, 4.0],
    "camera_bev_channels": 8,
    "voxel_channels": [8, 8, 8],
    "lidar_bev_channels": 8,
    "fused_channels": 8,
    "decoder_channels": [8, 8],
    "decoder_depth": 1,
    "head_channels": 8,
    "max_boxes": 20,
}


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
    from scenes.procedural import make_scenes

    root = tmp_path_factory.mktemp("data") / "tiny"
    make_scenes(root, num_scenes=2, seed=0, frames=2, workers=1, progress=False, val_every=2)
    return root


@pytest.fixture(scope="session")
def street_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with streets and their map."""
    from scenes.procedural import make_scenes

    root = tmp_path_factory.mktemp("data") / "street"
    make_scenes(
        root, num_scenes=2, seed=0, frames=2, workers=1, progress=False, val_every=2,
        street_map=True,
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the tiny model."""
    from models import build
    from models.checkpoint import store
    from search import strict_yaml

    path = tmp_path_factory.mktemp("checkpoints") / "tiny.safetensors"
    from models import BEVFusionSmall

    torch.manual_seed(0)
    model = build(strict_yaml.from_data(TINY_MODEL, BEVFusionSmall, "tests"))
    store.save(path, model, {})
    return path


@pytest.fixture
def sweep_data(tiny_root: Path, tiny_checkpoint: Path) -> dict[str, Any]:
    """A valid sweep as plain data: tests change a field and write it."""
    frames = {"root": str(tiny_root), "version": "v1.0-procedural"}
    return {
        "name": "tiny",
        "trial": {
            "model": dict(TINY_MODEL),
            "checkpoint": str(tiny_checkpoint),
            "train": {**frames, "split": "procedural_train"},
            "val": {**frames, "split": "procedural_val"},
            "image": {"height": 32, "width": 64},
            "criterion": {"name": "magnitude"},
            "allocation": {"per_modality": {"camera": 0.5, "lidar": 0.3, "fusion": 0.2}},
            "score_batches": 1,
            "fine_tune": {"steps": 2, "batch_size": 2, "warmup": 1},
            "cost_frames": 1,
        },
        "space": {
            "allocation.per_modality.camera": {"low": 0.0, "high": 0.9},
            "allocation.per_modality.lidar": {"low": 0.0, "high": 0.9},
            "allocation.per_stage.fusion.decoder": {"low": 0.0, "high": 0.9},
        },
        "trials": 4,
        "sampler": "random",
    }


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
    """A made KITTI frame: a car 20 m ahead and 2 m to the right, one point on it."""
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
