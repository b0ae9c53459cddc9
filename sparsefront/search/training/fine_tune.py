"""Short training of the surviving weights, the pruning mask held at every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.channels_last import channels_last
from sparsefront.models.fuser import PREFIX
from sparsefront.pruning.mask import PruningMask
from sparsefront.search.config.trial_spec import FineTuneSpec
from sparsefront.search.tasks.complete import CompleteTask
from sparsefront.search.training.distill import distillation
from sparsefront.search.training.moving_average import MovingAverage
from sparsefront.search.training.steps import (
    freeze_norms,
    parameter_groups,
    set_learning_rate,
    take_step,
)

Progress = Callable[[float], None]


def fine_tune(
    model: nn.Module,
    mask: PruningMask,
    task: CompleteTask,
    spec: FineTuneSpec,
    seed: int = 0,
    *,
    teacher: nn.Module | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[float]:
    """All steps at once; returns the loss of each, distillation included. 0 steps do nothing."""
    tuner = FineTuner(model, mask, task, spec, seed, teacher=teacher, device=device)
    tuner.run_to(spec.steps, progress)
    tuner.finish()
    return tuner.losses


class FineTuner:
    """AdamW under the spec's schedule, which may pause after any step and go on from its state.

    Pruned weights are zero after every step, and so is their optimizer state. `teacher` is the
    dense model, needed to distil. The model's convolutions keep channels innermost from here on
    (models/channels_last.py). A loss that is not finite raises ArithmeticError.
    """

    def __init__(
        self,
        model: nn.Module,
        mask: PruningMask,
        task: CompleteTask,
        spec: FineTuneSpec,
        seed: int = 0,
        *,
        teacher: nn.Module | None = None,
        device: str = "cpu",
    ) -> None:
        for network in (model, teacher):
            if network is not None:
                channels_last(network)
        self.losses: list[float] = []
        self._model, self._mask, self._task, self._spec = model, mask, task, spec
        self._seed = seed
        self.device = torch.device(device)
        self._teacher = teacher
        self._optimizer = torch.optim.AdamW(tuned_groups(model, spec), lr=spec.lr)
        self._average = MovingAverage(model, spec.ema) if spec.ema > 0 else None
        self._batches: Iterator[Any] | None = None

    def run_to(self, step: int, progress: Progress | None = None) -> None:
        """Trains until `step` steps are done; progress is called with the fraction of all steps."""
        if len(self.losses) >= step:
            return
        if self._batches is None:
            done = len(self.losses) * self._spec.accumulate
            self._batches = self._task.training_batches(self._seed, start=done)
        self._model.train()
        with self._mask.hold(self._model, self._optimizer):
            while len(self.losses) < step:
                taken = islice(self._batches, self._spec.accumulate)
                self._step(self._task.to_device(b, str(self.device)) for b in taken)
                if progress is not None:
                    progress(len(self.losses) / self._spec.steps)
        self._model.eval()

    def measured(self) -> nn.Module:
        """The model as it stands, with the moving average's weights where one is kept."""
        if self._average is None:
            return self._model
        averaged = copy.deepcopy(self._model)
        self._average.copy_to(averaged)
        return averaged.eval()

    def finish(self) -> None:
        """The weights that are kept become the model's own."""
        if self._average is not None and self.losses:
            self._average.copy_to(self._model)
        self._model.eval()
        self.free()

    def free(self) -> None:
        """Lets go of the weights and of the optimizer's moments at once: torch's optimizers are in
        a cycle, in which three copies of the model would wait on the device for the garbage
        collector. No step may follow.
        """
        self._optimizer.zero_grad()
        self._optimizer.state.clear()
        self._optimizer.param_groups.clear()

    def tensors(self) -> dict[str, Tensor]:
        """All that going on needs, with the losses so far: weights, optimizer, average."""
        found = {f"model.{name}": t for name, t in self._model.state_dict().items()}
        for index, slots in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": t for name, t in slots.items()}
        if self._average is not None:
            found |= {f"average.{name}": t for name, t in self._average.state.items()}
        return found

    def load(self, tensors: Mapping[str, Tensor], losses: list[float]) -> None:
        """Goes on where `tensors` and `losses` were taken. KeyError, InputError or RuntimeError
        where they do not fit.
        """
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self._model.load_state_dict(parts["model"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, slot = name.partition(".")
            state.setdefault(int(index), {})[slot] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self._average is not None:
            self._average.load(parts["average"], len(losses))
        self.losses = list(losses)
        self._batches = None

    def _step(self, batches: Iterator[Any]) -> None:
        step, steps = len(self.losses), self._spec.steps
        set_learning_rate(self._optimizer, self._spec, step, steps)
        if not self._spec.norms_move(step, steps):
            freeze_norms(self._model)
        loss, _ = take_step(self._model, batches, self._optimizer, self._spec, self._loss)
        self.losses.append(loss)
        if self._average is not None:
            self._average.update(self._model)

    def _loss(self, batch: Any) -> Tensor:
        task, spec = self._task, self._spec
        if self._teacher is None:
            return task.loss(self._model, batch)
        loss, *student = task.loss_with_features(self._model, batch, spec.distill_heads > 0)
        with torch.no_grad():
            wanted = task.features_and_outputs(self._teacher, batch, spec.distill_heads > 0)
        weight = spec.distill_features if task.has_features else 0.0
        return loss + distillation((student[0], student[1]), wanted, weight, spec.distill_heads)


def tuned_groups(model: nn.Module, spec: FineTuneSpec) -> list[dict[str, object]]:
    """The groups of dense training; the fuser's weights apart where they learn at their own rate.
    InputError for such a rate in a model without a fuser.
    """
    if spec.fuser_lr == 1.0:
        return parameter_groups(model.parameters(), spec.weight_decay)
    fuser = [p for name, p in model.named_parameters() if name.startswith(PREFIX)]
    others = [p for name, p in model.named_parameters() if not name.startswith(PREFIX)]
    if not fuser:
        raise InputError(
            f"fuser_lr: value {spec.fuser_lr!r}; the model has no weights in {PREFIX[:-1]}; "
            "allowed: 1"
        )
    own = parameter_groups(fuser, spec.weight_decay)
    return [
        *parameter_groups(others, spec.weight_decay),
        *({**group, "lr_factor": spec.fuser_lr} for group in own),
    ]
