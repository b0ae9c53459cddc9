"""Dense training: the checkpoint that a sweep starts from.

AdamW, one-cycle learning rate, gradient clipping, augmentation, and modality dropout so that each
sensor is used and each works alone. The log goes to stderr, the checkpoint is replaced atomically.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor

from models import ModelSpec, build
from models.channels_last import channels_last
from models.checkpoint import store
from models.checkpoint.other_fuser import for_fuser_of
from models.fusion_model import FusionModel
from pruning.mask import PruningMask
from scenes.batch import SensorBatch
from scenes.frame import OnBadSample
from scenes.loader import AugmentSpec, ImageSpec, Loader
from search import strict_yaml
from search.data import DataSpec, open_scenes
from search.tasks import measured, require_maps
from search.training.final_metrics import Log, final_metrics
from search.training.moving_average import MovingAverage
from search.training.pruned_start import go_on

if TYPE_CHECKING:
    from search.exports.pruned import Pruned


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """A dense training run. Give either `epochs` or `steps`.

    init              checkpoint to start from (long fine-tuning), or one for each modality whose
                      branch was trained apart ({camera: A, lidar: B}); else random weights
    only              trains one branch with fusion and head, the other branch's map masked
    modality_dropout  probability of a step with the camera or the LiDAR masked (half each)
    max_minutes       ends earlier; the learning rate follows the clock then, so the result depends
                      on the machine's speed
    freeze_norms      share of the run after which batch norms keep their running statistics
    average           decay of the exponential moving average that is saved; 0 saves the last step
    loader_workers    processes that read frames ahead; 0: this one
    on_bad_sample     a frame that cannot be read ends the run ("raise"), or is left out and
                      named in the log ("skip")
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: ModelSpec
    data: DataSpec
    val: DataSpec | None = None
    image: ImageSpec = field(default_factory=ImageSpec)
    augment: AugmentSpec | None = None
    init: str | dict[str, str] | None = None
    only: Literal["camera", "lidar"] | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 4
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_fraction: float = 0.3
    clip: float = 35.0
    modality_dropout: float = 0.0
    freeze_norms: float = 1.0
    average: float = 0.0
    bf16: bool = False
    seed: int = 0
    threads: int = 2
    loader_workers: int = 0
    on_bad_sample: OnBadSample = "raise"
    device: str = "cpu"
    max_minutes: float | None = None
    log_every: int = 20
    save_every: int = 500

    def __post_init__(self) -> None:
        if self.model.task == "map":
            require_maps("data", self.data)
        if self.val is not None:
            measured(self.model.task, self.val, None)
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("epochs, steps: give exactly one of the two")
        for name in ("modality_dropout", "average"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: value {getattr(self, name)!r}; allowed: 0 <= x < 1")
        for name in ("batch_size", "threads", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: value {getattr(self, name)!r}; allowed: 1 and above")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training run gave: where it is saved, and the final metrics on `val`."""

    checkpoint: Path
    steps: int
    minutes: float
    losses: list[float]
    metrics: dict[str, float]


def read_train(path: str | Path) -> TrainSpec:
    """The TrainSpec of a YAML file. ValueError with file, field and value, in one line."""
    return strict_yaml.read(path, TrainSpec)


def train(
    spec: TrainSpec, out: Path, log: Log | None = None, pruned: Pruned | None = None
) -> TrainResult:
    """Trains, saves OUT (a .safetensors file), evaluates on spec.val with and without each sensor.
    A pruned model is trained on from its weights, all that was removed held at zero.

    Deterministic given seed, threads and machine type, unless max_minutes cuts in. A loss that is
    not finite raises ArithmeticError.
    """
    log = log or _to_stderr
    seed_everything(spec.seed, spec.threads)
    scenes = open_scenes(spec.data, spec.on_bad_sample)
    model = build(spec.model).to(spec.device)
    held = PruningMask({})
    if pruned is None:
        _initialise(model, spec.init)
    else:
        held = go_on(model, spec.model, spec.init, pruned)
    loader = Loader(
        scenes, spec.image, spec.augment, spec.batch_size, shuffle=True, seed=spec.seed,
        drop_last=len(scenes.tokens) > spec.batch_size, workers=spec.loader_workers,
    )  # fmt: skip
    steps = spec.steps if spec.steps is not None else (spec.epochs or 0) * len(loader)
    count = sum(p.numel() for p in model.parameters())
    log(f"{len(scenes.tokens)} frames, {steps} steps of {spec.batch_size}, {count:,} parameters")
    started = time.monotonic()
    losses, averaged = _optimise(model, loader, steps, spec, Path(out), log, held)
    for token, reason in scenes.skipped.items():
        log(f"skipped {token}: {reason}")
    model.load_state_dict(averaged)
    held.check(model)
    minutes = (time.monotonic() - started) / 60
    store.save(out, model, _metadata(spec, len(losses)))
    metrics: dict[str, float] = {}
    if spec.val is not None:
        metrics = final_metrics(
            model, open_scenes(spec.val, spec.on_bad_sample), spec.image, spec.device, log
        )
    return TrainResult(
        checkpoint=Path(out), steps=len(losses), minutes=minutes, losses=losses, metrics=metrics
    )


def _initialise(model: FusionModel, init: str | dict[str, str] | None) -> None:
    """Loads a whole checkpoint, or of each modality's checkpoint that modality's part."""
    if isinstance(init, str):
        store.load_into(model, for_fuser_of(model, store.load(init)[0], init), init)
        return
    for modality, path in (init or {}).items():
        state = store.load(path)[0]
        part = {k: v for k, v in state.items() if k.startswith(f"{modality}.")}
        if not part:
            raise ValueError(f"init.{modality}: {path} has no weights of {modality!r}")
        store.load_into(model, {**model.state_dict(), **part}, path)


def one_cycle(progress: float, warmup_fraction: float) -> float:
    """Factor of the learning rate at progress 0..1: cosine from 1/25 to 1, then cosine to 1e-4.

    Smith & Topin 2018 with the shape of torch's OneCycleLR; a function of progress, so that the
    clock may drive it as well as the step count.
    """
    if progress < warmup_fraction:
        return _cosine(1 / 25, 1.0, progress / warmup_fraction)
    return _cosine(1.0, 1e-4, min(1.0, (progress - warmup_fraction) / (1 - warmup_fraction)))


def seed_everything(seed: int, threads: int) -> None:
    """Seeds torch, numpy's legacy generator and random; fixes the thread count of this process."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling what is written at once anyway takes a tenth of a step on the CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def parameter_groups(
    parameters: Iterable[torch.nn.Parameter], weight_decay: float
) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels; none for biases and norms."""
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def endless(loader: Loader) -> Iterator[SensorBatch]:
    """Epoch after epoch; each `iter(loader)` is the next epoch's order and augmentation.

    ValueError where an epoch has no frame that can be read.
    """
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError(f"train: none of {len(loader.frames)} frames could be read")


def _optimise(
    model: FusionModel,
    loader: Loader,
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
    batches = endless(loader)
    started = time.monotonic()
    losses: list[float] = []
    average = MovingAverage(model, spec.average)
    model.train()
    with held.hold(model, optimizer):
        for step in range(steps):
            progress = max(step / steps, _clock(started, spec.max_minutes))
            if progress >= 1.0:
                log(f"stopped after {spec.max_minutes} minutes at step {step}")
                break
            for group in optimizer.param_groups:
                group["lr"] = spec.lr * one_cycle(progress, spec.warmup_fraction)
            if progress >= spec.freeze_norms:
                _freeze_norms(model)
            batch = next(batches).to(spec.device)
            loss, norm = _step(model, batch, optimizer, spec, _masked(chooser, spec))
            losses.append(loss)
            average.update(model)
            if (step + 1) % spec.log_every == 0 or step + 1 == steps:
                _log_step(log, step + 1, steps, losses[-spec.log_every :], norm, started)
            if (step + 1) % spec.save_every == 0:
                store.save(out, model, _metadata(spec, step + 1))
    return losses, average.state


def _step(
    model: FusionModel,
    batch: SensorBatch,
    optimizer: torch.optim.Optimizer,
    spec: TrainSpec,
    masked: frozenset[str],
) -> tuple[float, float]:
    optimizer.zero_grad(set_to_none=True)
    device_type = torch.device(spec.device).type
    with torch.autocast(device_type, dtype=torch.bfloat16, enabled=spec.bf16):
        loss = model.loss(batch, masked=masked)
    if not torch.isfinite(loss):
        raise ArithmeticError(f"training loss is not finite: {loss.item()}")
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
    optimizer.step()
    return loss.item(), norm.item()


def _freeze_norms(model: FusionModel) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def _masked(chooser: random.Random, spec: TrainSpec) -> frozenset[str]:
    if spec.only is not None:
        return frozenset({"camera", "lidar"} - {spec.only})
    if chooser.random() >= spec.modality_dropout:
        return frozenset()
    return frozenset({chooser.choice(("camera", "lidar"))})


def _clock(started: float, max_minutes: float | None) -> float:
    return 0.0 if max_minutes is None else (time.monotonic() - started) / (60 * max_minutes)


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def _log_step(
    log: Log, step: int, steps: int, recent: list[float], norm: float, started: float
) -> None:
    seconds = time.monotonic() - started
    mean = sum(recent) / len(recent)
    log(f"step {step}/{steps}  loss {mean:.4f}  grad {norm:.2f}  {seconds:.0f} s")


def _metadata(spec: TrainSpec, step: int) -> dict[str, str]:
    model = json.dumps(asdict(spec.model))
    image = json.dumps(asdict(spec.image))
    return {"model": model, "image": image, "seed": str(spec.seed), "steps": str(step)}


def _to_stderr(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)
