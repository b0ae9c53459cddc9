"""The interface of every fusion model to training, pruning and evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from sparsefront.scenes.batch import Detections, MapProbabilities, SensorBatch

NOTHING_MASKED: frozenset[str] = frozenset()
FramePrediction = Detections | MapProbabilities
"""What a model predicts for one frame, by its task: boxes with scores, or the classes of a map."""
Task = Literal["detection", "map"]


class FusionModel(nn.Module, ABC):
    """A camera-LiDAR(-radar) model whose children are named after the modalities.

    The first part of every parameter name is its modality (camera, lidar, fusion), the first two
    parts are its stage (camera.backbone, fusion.head, ...). `task` says what it predicts: boxes
    ("detection") or a map ("map").
    """

    task: Task = "detection"

    @abstractmethod
    def features(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        """Bird's-eye-view feature maps [B, C, X, Y] by name: camera, lidar, fusion.

        `masked` names modalities whose map is replaced by zeros.
        """

    @abstractmethod
    def heads(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raw head outputs from the maps of `features`."""

    @abstractmethod
    def task_loss(self, outputs: dict[str, Tensor], batch: SensorBatch) -> Tensor:
        """Scalar loss of raw head outputs against batch.targets."""

    def forward(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> dict[str, Tensor]:
        """Raw head outputs."""
        return self.heads(self.features(batch, masked))

    def loss(self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED) -> Tensor:
        """Scalar task loss against batch.targets."""
        return self.task_loss(self(batch, masked), batch)

    @abstractmethod
    def predict(
        self, batch: SensorBatch, masked: frozenset[str] = NOTHING_MASKED
    ) -> Sequence[FramePrediction]:
        """One a frame: Detections in the LiDAR frame, the best score first, or MapProbabilities."""

    @abstractmethod
    def unprunable(self) -> frozenset[str]:
        """Weight names that no criterion may touch (the last layer of every head)."""
