"""The task of a catalogue's model on nuScenes-format or KITTI data: boxes or a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models import FusionModel, build
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.loader import Loader
from sparsefront.search.config.data import Scenes, share_of
from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.config.task import Metric
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.evaluation.calibration import BATCH_SIZE, calibration_frames
from sparsefront.search.evaluation.evaluate import Evaluation, evaluate

SCORE_BATCH_SIZE = 2
"""Frames a scoring batch: enough for batch statistics, small enough for a laptop's memory."""


class ScenesTask:
    """Model, train, val, image, augment and tracker of a trial, as config/task.py has a task. What
    it has beyond that reads frames apart, or has a loss and its maps from one pass.
    """

    calibration_batch_size = BATCH_SIZE

    def __init__(self, spec: TrialSpec) -> None:
        self._spec = spec
        self._model, _, self._val = spec.parts

    @property
    def metrics(self) -> Mapping[str, Metric]:
        measured = (OBJECTIVES[n] for n in self._spec.measured() if n in OBJECTIVES)
        return {o.name: Metric(direction=o.direction, unit=o.unit) for o in measured}

    def build(self) -> FusionModel:
        return build(self._model)

    def training_batches(self, seed: int) -> Loader:
        spec, scenes = self._spec, self._spec.train_scenes()
        size = spec.fine_tune.batch_size
        return Loader(
            scenes, spec.image, spec.augment, size, shuffle=True, seed=seed,
            drop_last=len(scenes.tokens) >= size, workers=spec.loader_workers,
        )  # fmt: skip

    def scoring_batches(self, seed: int, count: int) -> list[SensorBatch]:
        """The first training frames in seeded order, not augmented."""
        scenes = self._spec.train_scenes()
        loader = Loader(scenes, self._spec.image, None, SCORE_BATCH_SIZE, shuffle=True, seed=seed)
        return _some(list(islice(loader, count)), "train", loader)

    def calibration_batches(
        self, seed: int, frames: int, batch_size: int | None
    ) -> list[SensorBatch]:
        """Training frames, not augmented."""
        return calibration_frames(
            self._spec.train_scenes(), self._spec.image, seed, frames, batch_size or BATCH_SIZE
        )

    def evaluation_batches(self, share: float) -> Sequence[SensorBatch]:
        scenes, image = self._scenes(share), self._spec.image
        return _Frames(Loader(scenes, image, None, batch_size=1, shuffle=False, seed=0))

    def cost_batches(self, count: int) -> list[SensorBatch]:
        """The first evaluation frames that can be read."""
        loader = Loader(
            self._spec.val_scenes(), self._spec.image, None, batch_size=1, shuffle=False, seed=0
        )
        return _some([batch for batch, _ in zip(loader, range(count), strict=False)], "val", loader)

    def cost_names(self, count: int) -> list[str]:
        """Their tokens."""
        return list(self._spec.val_scenes().tokens[:count])

    def frames_in(self, batch: SensorBatch) -> int:
        return len(batch.tokens)

    def loss(self, model: Any, batch: SensorBatch) -> Tensor:
        found: Tensor = model.loss(batch)
        return found

    def features(self, model: Any, batch: SensorBatch) -> dict[str, Tensor]:
        found: dict[str, Tensor] = model.features(batch)
        return found

    def loss_with_features(
        self, model: FusionModel, batch: SensorBatch
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        features, outputs = self.features_and_outputs(model, batch, outputs=True)
        return model.task_loss(outputs, batch), features, outputs

    def features_and_outputs(
        self, model: FusionModel, batch: SensorBatch, outputs: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        features = model.features(batch)
        return features, model.heads(features) if outputs else {}

    def evaluate(
        self,
        model: nn.Module,
        share: float,
        device: str,
        progress: Callable[[float], None] | None = None,
    ) -> Evaluation:
        assert isinstance(model, FusionModel)
        return evaluate(
            model, self._scenes(share), self._spec.image, tracker=self._spec.tracker,
            device=device, workers=self._spec.loader_workers, progress=progress,
        )  # fmt: skip

    def to_device(self, batch: SensorBatch, device: str) -> SensorBatch:
        return batch.to(device)

    def forget_skipped(self) -> None:
        """Frames that could not be read so far."""
        self._spec.train_scenes().skipped.clear()

    def skipped(self) -> set[str]:
        """Training frames that were left out since."""
        return set(self._spec.train_scenes().skipped)

    def _scenes(self, share: float) -> Scenes:
        spec = self._spec
        return share_of(self._val, share, spec.on_bad_sample, spec.tracker is not None)


class _Frames(Sequence[SensorBatch]):
    """Frames one at a time, read when they are asked for."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader.scenes.tokens)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._loader.sample(index % len(self))

    def __iter__(self) -> Iterator[SensorBatch]:
        return iter(self._loader)


def _some(batches: list[SensorBatch], which: str, loader: Loader) -> list[SensorBatch]:
    if not batches:
        raise InputError(f"{which}: none of {len(loader.frames)} frames could be read")
    return batches
