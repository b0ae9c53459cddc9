"""Short training of the surviving weights, the pruning mask held at every step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor, nn

from models.channels_last import channels_last
from models.fuser import PREFIX
from models.fusion_model import FusionModel
from pruning.mask import PruningMask
from scenes.batch import SensorBatch
from scenes.loader import Loader
from search.training.distill import distillation
from search.training.moving_average import MovingAverage
from search.training.train import endless, one_cycle, parameter_groups
from search.trials.spec import FineTuneSpec

Progress = Callable[[float], None]


def fine_tune(
    model: FusionModel,
    mask: PruningMask,
    loader: Loader,
    spec: FineTuneSpec,
    *,
    teacher: FusionModel | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[float]:
    """All steps at once; returns the loss of each, distillation included. 0 steps do nothing."""
    tuner = FineTuner(model, mask, loader, spec, teacher=teacher, device=device)
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
        model: FusionModel,
        mask: PruningMask,
        loader: Loader,
        spec: FineTuneSpec,
        *,
        teacher: FusionModel | None = None,
        device: str = "cpu",
    ) -> None:
        channels_last(model)
        self.losses: list[float] = []
        self._model, self._mask, self._loader, self._spec = model, mask, loader, spec
        self._teacher, self._device = teacher, device
        self._optimizer = torch.optim.AdamW(tuned_groups(model, spec), lr=spec.lr)
        self._average = MovingAverage(model, spec.ema) if spec.ema > 0 else None
        self._batches: Iterator[SensorBatch] | None = None

    def run_to(self, step: int, progress: Progress | None = None) -> None:
        """Trains until `step` steps are done; progress is called with the fraction of all steps."""
        if len(self.losses) >= step:
            return
        if self._batches is None:
            self._loader.start_at(len(self.losses))
            self._batches = endless(self._loader)
        _training_mode(self._model, self._spec)
        with self._mask.hold(self._model, self._optimizer):
            for batch in islice(self._batches, step - len(self.losses)):
                self._step(batch.to(self._device))
                if progress is not None:
                    progress(len(self.losses) / self._spec.steps)
        self._model.eval()

    def measured(self) -> FusionModel:
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

    def tensors(self) -> dict[str, Tensor]:
        """All that going on needs, with the losses so far: weights, optimizer, average."""
        found = {f"model.{name}": t for name, t in self._model.state_dict().items()}
        for index, slots in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": t for name, t in slots.items()}
        if self._average is not None:
            found |= {f"average.{name}": t for name, t in self._average.state.items()}
        return found

    def load(self, tensors: Mapping[str, Tensor], losses: list[float]) -> None:
        """Goes on where `tensors` and `losses` were taken. KeyError, ValueError or RuntimeError
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

    def _step(self, batch: SensorBatch) -> None:
        for group in self._optimizer.param_groups:
            factor = group.get("lr_factor", 1.0) * schedule(self._spec, len(self.losses))
            group["lr"] = self._spec.lr * factor
        self.losses.append(_step(self._model, self._teacher, batch, self._optimizer, self._spec))
        if self._average is not None:
            self._average.update(self._model)


def tuned_groups(model: FusionModel, spec: FineTuneSpec) -> list[dict[str, object]]:
    """The groups of dense training; the fuser's weights apart where they learn at their own rate.
    ValueError for such a rate in a model without a fuser.
    """
    if spec.fuser_lr == 1.0:
        return parameter_groups(model.parameters(), spec.weight_decay)
    fuser = [p for name, p in model.named_parameters() if name.startswith(PREFIX)]
    others = [p for name, p in model.named_parameters() if not name.startswith(PREFIX)]
    if not fuser:
        raise ValueError(
            f"fuser_lr: value {spec.fuser_lr!r}; the model has no weights in {PREFIX[:-1]}; "
            "allowed: 1"
        )
    own = parameter_groups(fuser, spec.weight_decay)
    return [
        *parameter_groups(others, spec.weight_decay),
        *({**group, "lr_factor": spec.fuser_lr} for group in own),
    ]


def schedule(spec: FineTuneSpec, step: int) -> float:
    """Factor of the learning rate at a step."""
    if spec.schedule == "one_cycle":
        return one_cycle(step / spec.steps, spec.warmup / spec.steps)
    return warm_cosine(step, spec.steps, spec.warmup)


def warm_cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: (step+1)/(warmup+1) while warming up, then cosine to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def _step(
    model: FusionModel,
    teacher: FusionModel | None,
    batch: SensorBatch,
    optimizer: torch.optim.Optimizer,
    spec: FineTuneSpec,
) -> float:
    optimizer.zero_grad(set_to_none=True)
    half = spec.precision == "bfloat16"
    with torch.autocast(batch.images.device.type, dtype=torch.bfloat16, enabled=half):
        loss = _loss(model, teacher, batch, spec)
    if not torch.isfinite(loss):
        raise ArithmeticError(f"fine-tuning loss is not finite: {loss.item()}")
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
    optimizer.step()
    return loss.item()


def _loss(
    model: FusionModel, teacher: FusionModel | None, batch: SensorBatch, spec: FineTuneSpec
) -> Tensor:
    if teacher is None:
        return model.loss(batch)
    features = model.features(batch)
    outputs = model.heads(features)
    return model.task_loss(outputs, batch) + distillation(
        features, outputs, teacher, batch, spec.distill_features, spec.distill_heads
    )


def _training_mode(model: FusionModel, spec: FineTuneSpec) -> None:
    model.train()
    if spec.batch_norm == "eval":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
