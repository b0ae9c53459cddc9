"""A task with everything that its class may leave out, each answer checked where it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models.channels_last import channels_last
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.preserved import kept_modes
from sparsefront.search.config.task import Metric
from sparsefront.search.evaluation.evaluate import Evaluation
from sparsefront.search.tasks.nested import moved, tensors_in, unknown_in

Progress = Callable[[float], None]


class CompleteTask:
    """The whole protocol of config/task.py, whatever the task's own class has of it.

    Errors name the class and the method. Beside the documented methods a task may have those that
    save passes or read frames apart: `scoring_batches(seed, count)`, `calibration_batches(seed,
    frames, batch_size)` with `calibration_batch_size`, `cost_batches(count)`, `cost_names(count)`,
    `frames_in(batch)`, `loss_with_features(model, batch)`, `features_and_outputs(model, batch,
    outputs)`, and of data that may be skipped `forget_skipped()`, `skipped()`, `skipped_lines()`.
    """

    def __init__(self, own: Any, name: str) -> None:
        self.own, self.name = own, name

    @property
    def metrics(self) -> Mapping[str, Metric]:
        found: Mapping[str, Metric] = self.own.metrics
        return found

    def build(self) -> nn.Module:
        found = self.own.build()
        if not isinstance(found, nn.Module):
            raise self._wrong("build", f"returned {_kind(found)}", "a torch.nn.Module")
        return found

    def groups(self, model: nn.Module) -> ModalityGroups:
        if not self._has("groups"):
            return ModalityGroups.from_model(model)
        found = self.own.groups(model)
        if not isinstance(found, ModalityGroups):
            raise self._wrong("groups", f"returned {_kind(found)}", "ModalityGroups")
        return found

    def training_batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        """Endlessly, epoch after epoch, without the first `start`. An iterable whose `iter` begins
        anew is the next epoch; one that is spent is asked for again, with the next seed.
        """
        source = self._training(seed)
        skip = start
        if hasattr(source, "start_at"):
            source.start_at(start)
            skip = 0
        epoch = 0
        while True:
            empty = True
            for batch in source:
                empty = False
                if skip:
                    skip -= 1
                    continue
                yield batch
            if empty:
                raise InputError(f"train: {self._nothing_read(source)}")
            epoch += 1
            if isinstance(source, Iterator):
                source = self._training(seed + epoch)

    def epoch_length(self, seed: int) -> int:
        """Batches of an epoch. InputError for an endless iterator."""
        source = self._training(seed)
        if not hasattr(source, "__len__"):
            raise self._wrong(
                "training_batches", "returned what has no length", "steps in the place of epochs"
            )
        return len(source)

    def described(self) -> str:
        """The training data, in a few words."""
        return str(self.own.described()) if self._has("described") else f"task {self.name}"

    def skipped_lines(self) -> list[str]:
        """A line for each frame of training that could not be read."""
        return list(self.own.skipped_lines()) if self._has("skipped_lines") else []

    def scoring_batches(self, seed: int, count: int, device: str) -> list[Any]:
        """The first batches of training, on a device."""
        if self._has("scoring_batches"):
            found = self.own.scoring_batches(seed, count)
        else:
            found = list(islice(self._one_epoch(seed), count))
        return [self.to_device(batch, device) for batch in self._some(found)]

    def calibration_batches(
        self, seed: int, frames: int, device: str, batch_size: int | None = None
    ) -> list[Any]:
        """At least so many frames of training, or all there are, on a device."""
        if self._has("calibration_batches"):
            found = self.own.calibration_batches(seed, frames, batch_size)
        else:
            found, count = [], 0
            for batch in self._one_epoch(seed):
                found.append(batch)
                count += self.frames_in(batch)
                if count >= frames:
                    break
        return [self.to_device(batch, device) for batch in self._some(found)]

    def evaluation_batches(self, share: float = 1.0) -> Sequence[Any]:
        found: Sequence[Any] = self.own.evaluation_batches(share)
        if not hasattr(found, "__len__") or not hasattr(found, "__getitem__"):
            raise self._wrong("evaluation_batches", f"returned {_kind(found)}", "a sequence")
        return found

    def cost_batches(self, count: int) -> list[Any]:
        """The first evaluation batches, on the CPU."""
        if self._has("cost_batches"):
            found: list[Any] = self.own.cost_batches(count)
            return found
        batches = self.evaluation_batches()
        if len(batches) == 0:
            raise self._wrong("evaluation_batches", "returned no batch", "at least one")
        return [batches[at] for at in range(min(count, len(batches)))]

    def cost_names(self, count: int) -> list[str]:
        """Of the frames among cost_batches."""
        if self._has("cost_names"):
            found: list[str] = self.own.cost_names(count)
            return found
        there = len(self.evaluation_batches())
        return [f"evaluation batch {at}" for at in range(min(count, there))]

    def frames_in(self, batch: Any) -> int:
        """The length of a batch's first tensor, where the task does not say."""
        if self._has("frames_in"):
            return int(self.own.frames_in(batch))
        first = next(tensors_in(batch), None)
        return 1 if first is None or first.ndim == 0 else int(first.shape[0])

    def frames_a_batch(self, batches: Sequence[Any]) -> int:
        """Of batches for calibration: as many as the task makes them of, else the most found."""
        asked: int | None = getattr(self.own, "calibration_batch_size", None)
        return asked or max(map(self.frames_in, batches))

    def forward(self, model: nn.Module, batch: Any) -> Any:
        return self.own.forward(model, batch) if self._has("forward") else model(batch)

    def loss(self, model: Any, batch: Any) -> Tensor:
        return self._scalar("loss", self.own.loss(model, batch))

    @property
    def has_features(self) -> bool:
        return self._has("features")

    def features(self, model: Any, batch: Any) -> Mapping[str, Tensor]:
        """InputError where the task has none."""
        if not self.has_features:
            raise self._wrong("features", "is missing", "features(model, batch) -> {name: tensor}")
        found: Mapping[str, Tensor] = self.own.features(model, batch)
        if not isinstance(found, Mapping):
            raise self._wrong("features", f"returned {_kind(found)}", "a mapping of tensors")
        return found

    def loss_with_features(
        self, model: nn.Module, batch: Any, outputs: bool = True
    ) -> tuple[Tensor, Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, the maps and, where they are asked for, the outputs; by passes of their own
        where the task knows no way to have them together.
        """
        if self._has("loss_with_features"):
            found: tuple[Any, Any, Any] = self.own.loss_with_features(model, batch)
            return found
        return (self.loss(model, batch), *self.features_and_outputs(model, batch, outputs))

    def features_and_outputs(
        self, model: nn.Module, batch: Any, outputs: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Maps (none where the task has none), and outputs by number where they are asked for."""
        if self._has("features_and_outputs"):
            both: tuple[Any, Any] = self.own.features_and_outputs(model, batch, outputs)
            return both
        maps = self.features(model, batch) if self.has_features else {}
        if not outputs:
            return maps, {}
        found = [t for t in tensors_in(self.forward(model, batch)) if t.is_floating_point()]
        return maps, {str(at): tensor for at, tensor in enumerate(found)}

    def evaluate(
        self, model: nn.Module, share: float, device: str, progress: Progress | None = None
    ) -> Evaluation:
        """All metrics of the task, and whatever else it returned, by class. InputError for a metric
        that is not there or is no number.
        """
        takes = inspect.signature(self.own.evaluate).parameters
        more = {"progress": progress} if "progress" in takes else {}
        channels_last(model)  # as training leaves it, or last bits would differ
        with kept_modes(model), torch.no_grad():
            found = self.own.evaluate(model, share, device, **more)
        if isinstance(found, Evaluation):
            return found
        if not isinstance(found, Mapping):
            raise self._wrong("evaluate", f"returned {_kind(found)}", "a mapping of numbers")
        numbers = {str(name): self._number(str(name), value) for name, value in found.items()}
        wanted = list(self.metrics)
        if lacking := [name for name in wanted if name not in numbers]:
            raise self._wrong(
                "evaluate",
                f"returned {', '.join(numbers) or 'nothing'}, and not {lacking[0]}",
                f"all of metrics: {', '.join(wanted)}",
            )
        return Evaluation(
            metrics={name: numbers[name] for name in wanted},
            per_class={name: value for name, value in numbers.items() if name not in wanted},
        )

    def forget_skipped(self) -> None:
        """Training data that could not be read so far."""
        if self._has("forget_skipped"):
            self.own.forget_skipped()

    def skipped(self) -> set[str]:
        """Training data that were left out since."""
        return set(self.own.skipped()) if self._has("skipped") else set()

    def to_device(self, batch: Any, device: str) -> Any:
        if self._has("to_device"):
            return self.own.to_device(batch, device)
        if (hidden := unknown_in(batch)) is not None:
            raise self._wrong(
                "to_device",
                f"is not given, and a batch holds a {hidden}, in which tensors are not looked for",
                "tensors, lists, tuples, mappings, dataclasses, objects with a method `to`",
            )
        found = moved(batch, device)
        target = torch.device(device).type
        there = [tensor.device.type == target for tensor in tensors_in(found)]
        if not there or not all(there):
            raise self._wrong(
                "to_device",
                f"is not given, and in a batch of {_kind(batch)} not all tensors are found",
                "tensors, lists, tuples, mappings, dataclasses, objects with a method `to`",
            )
        return found

    def _training(self, seed: int) -> Any:
        found = self.own.training_batches(seed)
        if not isinstance(found, Iterable):
            raise self._wrong("training_batches", f"returned {_kind(found)}", "an iterable")
        return found

    def _one_epoch(self, seed: int) -> Iterator[Any]:
        return iter(self._training(seed))

    def _some(self, batches: list[Any]) -> list[Any]:
        if not batches:
            raise self._wrong("training_batches", "gave no batch", "at least one")
        return batches

    def _nothing_read(self, source: Any) -> str:
        frames = getattr(source, "frames", None)
        if frames is not None:
            return f"none of {len(frames)} frames could be read"
        return f"{self.name}.training_batches gave no batch"

    def _scalar(self, method: str, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = f" of shape {list(value.shape)}" if isinstance(value, Tensor) else ""
            raise self._wrong(method, f"returned {_kind(value)}{shape}", "a scalar tensor")
        return value.reshape(())

    def _number(self, name: str, value: Any) -> float:
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if number or (isinstance(value, Tensor) and value.numel() == 1):
            return float(value)
        raise self._wrong("evaluate", f"returned {name} = {str(value)[:60]!r}", "a number")

    def _has(self, method: str) -> bool:
        return callable(getattr(self.own, method, None))

    def _wrong(self, method: str, what: str, allowed: str) -> InputError:
        return InputError(f"task {self.name}: {method} {what}; allowed: {allowed}")


def _kind(value: Any) -> str:
    return type(value).__name__
