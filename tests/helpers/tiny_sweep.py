"""The smallest data set, model and sweep that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def make_tiny_data(root: Path) -> Path:
    """One training and one validation scene of two keyframes each."""
    from sparsefront.scenes.procedural import make_scenes

    make_scenes(root, num_scenes=2, seed=0, frames=2, workers=1, progress=False, val_every=2)
    return root


def make_tiny_checkpoint(path: Path) -> Path:
    """Untrained weights of the tiny model."""
    import torch

    from sparsefront.models import BEVFusionSmall, build
    from sparsefront.models.checkpoint import store
    from sparsefront.search.config import strict_yaml

    torch.manual_seed(0)
    model = build(strict_yaml.from_data(TINY_MODEL, BEVFusionSmall, "tests"))
    store.save(path, model, {})
    return path


def tiny_sweep(root: Path, checkpoint: Path) -> dict[str, Any]:
    """A valid sweep file as plain data."""
    frames = {"root": str(root), "version": "v1.0-procedural"}
    return {
        "name": "tiny",
        "trial": {
            "model": dict(TINY_MODEL),
            "checkpoint": str(checkpoint),
            "train": {**frames, "split": "procedural_train"},
            "val": {**frames, "split": "procedural_val"},
            "image": {"height": 32, "width": 64},
            "criterion": {"name": "magnitude"},
            "allocation": {"per_modality": {"camera": 0.5, "lidar": 0.3, "fusion": 0.2}},
            "score_batches": 1,
            "fine_tune": {"steps": 2, "batch_size": 2, "warmup": 1},
            "norm_frames": 2,
            "repair": {"frames": 2},
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
