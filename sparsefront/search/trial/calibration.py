"""The training frames on which a trial's model is repaired: read once a trial."""

from __future__ import annotations

import copy

import torch

from sparsefront.models.fusion_model import FusionModel
from sparsefront.pruning.device import forked_random
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.scenes.batch import SensorBatch
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.evaluation.calibration import calibration_batches, run


class Calibration:
    """notes: what could not be done, a line each."""

    def __init__(self, spec: TrialSpec, device: str) -> None:
        self._spec, self._device = spec, device
        self._batches: list[SensorBatch] | None = None
        self.notes: list[str] = []

    def update_norms(self, model: FusionModel) -> None:
        """Measures the running statistics of batch norms on `norm_frames` frames, in place."""
        if self._spec.norm_frames == 0:
            return
        with forked_random(torch.device(self._device)):
            unseen = reestimate_norms(model, self.batches(), run)
        if unseen:
            self._note(f"norms that no frame reached keep their statistics: {', '.join(unseen)}")

    def updated(self, model: FusionModel) -> FusionModel:
        """A copy of the model with norms measured again, in eval mode; itself where they stay."""
        if self._spec.norm_frames == 0:
            return model
        copied = copy.deepcopy(model)
        self.update_norms(copied)
        return copied.eval()

    def batches(self) -> list[SensorBatch]:
        """The frames, on the trial's device."""
        if self._batches is None:
            wanted = self._spec.norm_frames
            scenes = self._spec.train_scenes()
            self._batches = calibration_batches(
                scenes, self._spec.image, self._spec.seed, wanted, self._device
            )
            found = sum(len(batch.tokens) for batch in self._batches)
            if found < wanted:
                self._note(f"norm_frames: value {wanted}; train has {found} that can be read")
        return self._batches

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)
