"""What dense training needs of a catalogue's model and data, as a task has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparsefront.models import FusionModel, ModelSpec, build
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import AugmentSpec, ImageSpec, Loader
from sparsefront.search.config.data import Scenes
from sparsefront.search.evaluation.calibration import BATCH_SIZE, calibration_frames


@dataclass(frozen=True)
class DenseTask:
    """Training data alone: what such a model ends with is final_metrics.py's."""

    model: ModelSpec
    scenes: Scenes
    image: ImageSpec
    augment: AugmentSpec | None
    batch_size: int
    workers: int = 0

    def build(self) -> FusionModel:
        return build(self.model)

    def training_batches(self, seed: int) -> Loader:
        return Loader(
            self.scenes, self.image, self.augment, self.batch_size, shuffle=True, seed=seed,
            drop_last=len(self.scenes.tokens) > self.batch_size, workers=self.workers,
        )  # fmt: skip

    def calibration_batches(
        self, seed: int, frames: int, batch_size: int | None
    ) -> list[SensorBatch]:
        return calibration_frames(self.scenes, self.image, seed, frames, batch_size or BATCH_SIZE)

    def frames_in(self, batch: SensorBatch) -> int:
        return len(batch.tokens)

    def loss(self, model: Any, batch: SensorBatch) -> Tensor:
        found: Tensor = model.loss(batch)
        return found

    def to_device(self, batch: SensorBatch, device: str) -> SensorBatch:
        return batch.to(device)

    def described(self) -> str:
        return f"{len(self.scenes.tokens)} frames in batches of {self.batch_size}"

    def skipped_lines(self) -> list[str]:
        return [f"skipped {token}: {reason}" for token, reason in self.scenes.skipped.items()]
