"""The training frames on which a trial's model is repaired: read once a trial."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from sparsefront.pruning.device import forked_random
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.tasks.choose import task_of


class Calibration:
    """notes: what could not be done, a line each."""

    def __init__(self, spec: TrialSpec, device: str) -> None:
        self._spec, self._device, self._task = spec, device, task_of(spec)
        self._batches: list[Any] | None = None
        self.notes: list[str] = []

    def update_norms(self, model: nn.Module) -> None:
        """Measures the running statistics of batch norms on `norm_frames` frames, in place."""
        if self._spec.norm_frames == 0:
            return
        with forked_random(torch.device(self._device)):
            unseen = reestimate_norms(model, self.batches(), self._task.forward)
        if unseen:
            self._note(f"norms that no frame reached keep their statistics: {', '.join(unseen)}")

    def updated(self, model: nn.Module) -> nn.Module:
        """A copy of the model with norms measured again, in eval mode; itself where they stay."""
        if self._spec.norm_frames == 0:
            return model
        copied = copy.deepcopy(model)
        self.update_norms(copied)
        return copied.eval()

    def batches(self) -> list[Any]:
        """The frames, on the trial's device."""
        if self._batches is None:
            wanted = self._spec.norm_frames
            task = self._task
            self._batches = task.calibration_batches(self._spec.seed, wanted, self._device)
            found = sum(task.frames_in(batch) for batch in self._batches)
            if found < wanted:
                self._note(f"norm_frames: value {wanted}; train has {found} that can be read")
        return self._batches

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)
