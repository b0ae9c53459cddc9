"""Dense training: the checkpoint that a sweep starts from.

AdamW, one-cycle learning rate, gradient clipping, augmentation, and modality dropout so that each
sensor is used and each works alone. The log goes to stderr, the checkpoint is replaced atomically.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from sparsefront.errors import InputError
from sparsefront.models import FusionModel, ModelSpec
from sparsefront.models.channels_last import channels_last
from sparsefront.models.checkpoint import store
from sparsefront.models.checkpoint.other_fuser import convert_fuser
from sparsefront.models.recompute import recompute_backbone
from sparsefront.pruning.mask import PruningMask
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.scenes.frame import OnBadSample
from sparsefront.scenes.loader import AugmentSpec, ImageSpec
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.checkpoint_model import checkpoint_metadata
from sparsefront.search.config.data import DataSpec, open_scenes
from sparsefront.search.config.device import Device, resolve_device
from sparsefront.search.config.gradient_steps import GradientStepsSpec
from sparsefront.search.config.metric_names import measured, require_maps
from sparsefront.search.config.named_classes import AnyData, AnyModel, NamedTask
from sparsefront.search.tasks.complete import CompleteTask
from sparsefront.search.training.dense_task import DenseTask
from sparsefront.search.training.final_metrics import Log, final_metrics
from sparsefront.search.training.moving_average import MovingAverage
from sparsefront.search.training.pruned_start import PrunedCheckpoint, start_from_pruned
from sparsefront.search.training.seeding import seed_everything
from sparsefront.search.training.steps import (
    freeze_norms,
    parameter_groups,
    set_learning_rate,
    take_step,
)

RENAMED = {
    "average": "allowed: ema, as in fine_tune",
    "bf16": "allowed: precision: bfloat16 or float32, as in fine_tune",
    "freeze_norms": "allowed: batch_norm: train, eval or that share of the steps",
    "warmup_fraction": "allowed: warmup, steps or below 1 a share of them",
    "max_minutes": "allowed: steps or epochs",
}
"""Fields of version 0.1, and what stands for them."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec(GradientStepsSpec):
    """A dense training run. Give either `epochs` or `steps`; GradientStepsSpec has the rest.

    task              a model, its data and metrics of one's own, in the place of model, data, val,
                      image and augment
    init              checkpoint to start from (long fine-tuning), or one for each modality whose
                      branch was trained apart ({camera: A, lidar: B}); else random weights
    only              trains one branch with fusion and head, the other branch's map masked
    norm_frames       training frames, not augmented, on which batch norms' running statistics are
                      measured again at the end; 0: they stay as the steps left them
    modality_dropout  probability of a step with the camera or the LiDAR masked (half each)
    loader_workers    processes that read frames ahead; 0: this one
    on_bad_sample     a frame that cannot be read ends the run ("raise"), or is left out and
                      named in the log ("skip")
    checkpoint_activations  the camera backbone's are computed again in the backward pass, not kept
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    task: NamedTask | None = None
    model: AnyModel | None = None
    data: AnyData | None = None
    val: AnyData | None = None
    image: ImageSpec = field(default_factory=ImageSpec)
    augment: AugmentSpec | None = None
    init: str | dict[str, str] | None = None
    only: Literal["camera", "lidar"] | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 4
    lr: float = 1e-3
    schedule: Literal["cosine", "one_cycle"] = "one_cycle"
    warmup: int | float = 0.3
    clip: float = 35.0
    norm_frames: int = 0
    modality_dropout: float = 0.0
    seed: int = 0
    threads: int = 2
    loader_workers: int = 0
    on_bad_sample: OnBadSample = "raise"
    device: Device = "auto"
    checkpoint_activations: bool = False
    log_every: int = 20
    save_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task is None:
            model, data = self.parts
            if model.task == "map":
                require_maps("data", data)
            if self.val is not None:
                measured(model.task, self.val, None)
        elif given := [n for n in TASK_SAYS if getattr(self, n) != _default(TrainSpec, n)]:
            raise InputError(f"{given[0]}: given beside task, which says it; allowed: none")
        if (self.epochs is None) == (self.steps is None):
            raise InputError("epochs, steps: give exactly one of the two")
        if not 0.0 <= self.modality_dropout < 1.0:
            raise InputError(
                f"modality_dropout: value {self.modality_dropout!r}; allowed: 0 <= x < 1"
            )
        if self.norm_frames < 0:
            raise InputError(f"norm_frames: value {self.norm_frames!r}; allowed: 0 and above")
        for name in ("threads", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: value {getattr(self, name)!r}; allowed: 1 and above")

    @property
    def parts(self) -> tuple[ModelSpec, DataSpec]:
        """Model and data of a catalogue. InputError for one that is missing."""
        for name in ("model", "data"):
            if getattr(self, name) is None:
                raise InputError(f"{name}: missing; it has no default")
        assert self.model is not None and self.data is not None
        return self.model, self.data


TASK_SAYS = (
    "model", "data", "val", "image", "augment", "only", "batch_size", "modality_dropout",
    "loader_workers", "on_bad_sample",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training run gave: where it is saved, and the final metrics on `val`."""

    checkpoint: Path
    steps: int
    minutes: float
    losses: list[float]
    metrics: dict[str, float]


def read_train(path: str | Path) -> TrainSpec:
    """The TrainSpec of a YAML file. InputError with file, field and value, in one line."""
    data = strict_yaml.read_yaml(path)
    for name, instead in RENAMED.items():
        if isinstance(data, dict) and name in data:
            raise InputError(f"{path}: field {name}: unknown key since version 0.2; {instead}")
    return strict_yaml.from_data(data, TrainSpec, path)


def train(
    spec: TrainSpec, out: Path, log: Log | None = None, pruned: PrunedCheckpoint | None = None
) -> TrainResult:
    """Trains, saves OUT (a .safetensors file), evaluates on spec.val with and without each sensor.
    A pruned model is trained on from its weights, all that was removed held at zero.

    Deterministic given seed, threads and machine type. A loss that is not finite raises
    ArithmeticError.
    """
    log = log or _to_stderr
    seed_everything(spec.seed, spec.threads)
    device, task = resolve_device(spec.device), training_task(spec)
    model = task.build().to(device)
    if spec.checkpoint_activations:
        recompute_backbone(model)
    held = PruningMask({})
    if pruned is None:
        _initialise(model, spec.init)
    else:
        held = start_from_pruned(model, spec.task or spec.parts[0], spec.init, pruned)
    steps = spec.steps
    if steps is None:
        an_epoch = max(1, task.epoch_length(spec.seed) // spec.accumulate)
        steps = (spec.epochs or 0) * an_epoch
    count = sum(p.numel() for p in model.parameters())
    log(f"{task.described()}, {steps} steps, {count:,} parameters")
    started = time.monotonic()
    losses, averaged = _optimise(model, task, steps, spec, Path(out), log, held)
    for line in task.skipped_lines():
        log(line)
    model.load_state_dict(averaged)
    if spec.norm_frames:
        _update_norms(model, spec, task, device, log)
    held.check(model)
    minutes = (time.monotonic() - started) / 60
    store.save(out, model, _metadata(spec, len(losses)))
    metrics: dict[str, float] = {}
    if spec.task is not None:
        metrics = task.evaluate(model, 1.0, device).metrics
        log("held out: " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    elif spec.val is not None:
        assert isinstance(model, FusionModel)
        metrics = final_metrics(
            model, open_scenes(spec.val, spec.on_bad_sample), spec.image, device, log
        )
    return TrainResult(
        checkpoint=Path(out), steps=len(losses), minutes=minutes, losses=losses, metrics=metrics
    )


def training_task(spec: TrainSpec) -> CompleteTask:
    """The task of one's own, or that of the model and data."""
    if spec.task is not None:
        return CompleteTask(spec.task, spec.task.name)
    model, data = spec.parts
    scenes = open_scenes(data, spec.on_bad_sample)
    own = DenseTask(
        model, scenes, spec.image, spec.augment, spec.batch_size, workers=spec.loader_workers
    )
    return CompleteTask(own, model.name)


def _update_norms(
    model: nn.Module, spec: TrainSpec, task: CompleteTask, device: str, log: Log
) -> None:
    batches = task.calibration_batches(spec.seed, spec.norm_frames, device)
    unseen = reestimate_norms(model, batches, task.forward)
    found = sum(task.frames_in(batch) for batch in batches)
    log(f"norms measured again on {found} training frames")
    if unseen:
        log(f"norms that no frame reached keep their statistics: {', '.join(unseen)}")


def _initialise(model: nn.Module, init: str | dict[str, str] | None) -> None:
    """Loads a whole checkpoint, or of each modality's checkpoint that modality's part."""
    if isinstance(init, str):
        store.load_into(model, convert_fuser(model, store.load(init)[0], init), init)
        return
    for modality, path in (init or {}).items():
        state = store.load(path)[0]
        part = {k: v for k, v in state.items() if k.startswith(f"{modality}.")}
        if not part:
            raise InputError(f"init.{modality}: {path} has no weights of {modality!r}")
        store.load_into(model, {**model.state_dict(), **part}, path)


def _optimise(
    model: nn.Module,
    task: CompleteTask,
    steps: int,
    spec: TrainSpec,
    out: Path,
    log: Log,
    held: PruningMask,
) -> tuple[list[float], dict[str, Tensor]]:
    channels_last(model)
    optimizer = torch.optim.AdamW(
        parameter_groups(model.parameters(), spec.weight_decay), lr=spec.lr
    )
    chooser = random.Random(spec.seed)
    batches = task.training_batches(spec.seed)
    started = time.monotonic()
    losses: list[float] = []
    average = MovingAverage(model, spec.ema)
    device = resolve_device(spec.device)
    model.train()
    with held.hold(model, optimizer):
        for step in range(steps):
            set_learning_rate(optimizer, spec, step, steps)
            if not spec.norms_move(step, steps):
                freeze_norms(model)
            masked = _masked(chooser, spec)
            taken = (task.to_device(b, device) for b in islice(batches, spec.accumulate))
            loss, norm = take_step(model, taken, optimizer, spec, _loss_of(task, model, masked))
            losses.append(loss)
            average.update(model)
            if (step + 1) % spec.log_every == 0 or step + 1 == steps:
                _log_step(log, step + 1, steps, losses[-spec.log_every :], norm, started)
            if (step + 1) % spec.save_every == 0:
                store.save(out, model, _metadata(spec, step + 1))
    return losses, average.state


def _loss_of(
    task: CompleteTask, model: nn.Module, masked: frozenset[str]
) -> Callable[[Any], Tensor]:
    if not masked:
        return partial(task.loss, model)
    assert isinstance(model, FusionModel)
    return partial(model.loss, masked=masked)


def _masked(chooser: random.Random, spec: TrainSpec) -> frozenset[str]:
    if spec.only is not None:
        return frozenset({"camera", "lidar"} - {spec.only})
    if chooser.random() >= spec.modality_dropout:
        return frozenset()
    return frozenset({chooser.choice(("camera", "lidar"))})


def _log_step(
    log: Log, step: int, steps: int, recent: list[float], norm: float, started: float
) -> None:
    seconds = time.monotonic() - started
    mean = sum(recent) / len(recent)
    log(f"step {step}/{steps}  loss {mean:.4f}  grad {norm:.2f}  {seconds:.0f} s")


def _metadata(spec: TrainSpec, step: int) -> dict[str, str]:
    model = checkpoint_metadata(spec.task or spec.parts[0], spec.image)
    return {**model, "seed": str(spec.seed), "steps": str(step)}


def _default(kind: Any, name: str) -> Any:
    field_ = kind.__dataclass_fields__[name]
    return field_.default if field_.default_factory is MISSING else field_.default_factory()


def _to_stderr(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)
