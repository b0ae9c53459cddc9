"""Training frames, not augmented, on which a model is repaired after a cut."""

from __future__ import annotations

from torch import Tensor

from sparsefront.errors import InputError
from sparsefront.models.fusion_model import FusionModel
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import ImageSpec, Loader
from sparsefront.search.config.data import Scenes

BATCH_SIZE = 4
"""Frames a batch: enough for batch statistics, without gradients small enough for a laptop."""


def calibration_batches(
    scenes: Scenes,
    image: ImageSpec,
    seed: int,
    frames: int,
    device: str,
    batch_size: int = BATCH_SIZE,
) -> list[SensorBatch]:
    """calibration_frames on a device."""
    found = calibration_frames(scenes, image, seed, frames, batch_size)
    return [batch.to(device) for batch in found]


def calibration_frames(
    scenes: Scenes, image: ImageSpec, seed: int, frames: int, batch_size: int = BATCH_SIZE
) -> list[SensorBatch]:
    """So many frames, or all there are, in the order of a first training epoch of that seed.
    InputError where none can be read.
    """
    shuffled = Loader(scenes, image, None, 1, shuffle=True, seed=seed)
    loader = Loader(scenes, image, None, batch_size, shuffle=False, seed=seed)
    loader.frames = shuffled.order(epoch=0)[:frames]
    found = list(loader)
    if not found:
        raise InputError(f"train: none of {len(loader.frames)} frames could be read")
    return found


def run(model: FusionModel, batch: SensorBatch) -> dict[str, Tensor]:
    """A forward pass to the raw head outputs."""
    return model.heads(model.features(batch))
