"""What every trial is about: the numbers of examples/demo.yaml, and data opened once a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import torch
from nuscenes import NuScenes
from torch import Tensor

from sparsefront.models import BEVFusionSmall, ModelSpec, build
from sparsefront.models.fusion_model import FusionModel
from sparsefront.pruning.cost import CostProfile, profile
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.scenes.nuscenes import NuScenesScenes, NuScenesSpec

CHECKPOINT = "examples/checkpoints/demo.safetensors"
VERSION = "v1.0-procedural"
MODALITIES = ("camera", "lidar", "fusion")
MOST = 0.96
"""The highest sparsity that is searched."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Model, frames and fine-tuning, the same in every trial. norm_frames: training frames on which
    batch norms are measured again at the end; most scripts leave them.
    """

    model: ModelSpec
    train: NuScenesSpec
    val: NuScenesSpec
    image: ImageSpec
    steps: int = 18
    batch_size: int = 4
    lr: float = 4e-4
    warmup: int = 4
    weight_decay: float = 0.01
    clip: float = 10.0
    cost_frames: int = 4
    seed: int = 0
    threads: int = 1
    norm_frames: int = 0


@dataclass(frozen=True)
class Opened:
    """The data of a task, open: frames to train and to measure on, and the devkit's tables."""

    train: NuScenesScenes
    val: NuScenesScenes
    nusc: NuScenes


def demo_task(root: str) -> Task:
    """The task of examples/demo.yaml on the scenes in `root`, an absolute path."""
    train, val = (
        NuScenesSpec(root=root, version=VERSION, split=f"procedural_{split}", num_sweeps=1)
        for split in ("train", "val")
    )
    return Task(model=BEVFusionSmall(), train=train, val=val, image=ImageSpec(height=96, width=256))


@lru_cache(maxsize=1)
def opened(task: Task) -> Opened:
    """Opened once a process, where Ray keeps the process for several trials."""
    return Opened(
        NuScenesScenes(task.train),
        NuScenesScenes(task.val),
        NuScenes(task.val.version, task.val.root, verbose=False),
    )


def dense_model(task: Task, state: Mapping[str, Tensor]) -> FusionModel:
    """A model with the dense weights."""
    model = build(task.model)
    model.load_state_dict(state)
    return model


def cost_profile(task: Task, state: Mapping[str, Tensor]) -> CostProfile:
    """Uses of each weight on the first evaluation frames; zeros are taken off later."""
    loader = Loader(NuScenesScenes(task.val), task.image, None, batch_size=1, shuffle=False, seed=0)
    model = dense_model(task, state).eval()
    with torch.no_grad():
        return profile(model, list(islice(loader, task.cost_frames)))
