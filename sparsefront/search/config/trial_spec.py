"""What defines a trial, and what a trial measured. Both are plain data with a JSON round trip."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, ValidationError
from torch import nn

from sparsefront.errors import InputError, one_line_with_type
from sparsefront.models import ModelSpec, build
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.crossprune import CrossPrune
from sparsefront.pruning.groups import ModalityGroups
from sparsefront.pruning.latency import LatencySpec
from sparsefront.pruning.repair.options import Repair
from sparsefront.scenes.frame import OnBadSample
from sparsefront.scenes.kitti import KittiSpec
from sparsefront.scenes.loader import AugmentSpec, ImageSpec
from sparsefront.scenes.nuscenes import NuScenesSpec
from sparsefront.search.config.data import DataSpec, Scenes, open_scenes
from sparsefront.search.config.device import Device
from sparsefront.search.config.gradient_steps import GradientStepsSpec
from sparsefront.search.config.metric_names import (
    COST,
    LATENCY,
    SKIPPED,
    SKIPPED_TRAINING,
    measured,
    require_maps,
)
from sparsefront.search.config.named_classes import (
    AnyCriterion,
    AnyData,
    AnyModel,
    AnyTracker,
    Architecture,
    NamedTask,
    OwnMetric,
)
from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.config.older_files import upgraded_trial, with_later_fields
from sparsefront.search.config.strict_yaml import adapter, message_of, to_plain
from sparsefront.search.config.task import Metric
from sparsefront.search.config.trade_off import TradeOff

NO_CHECKPOINT = "none"
"""Of a task whose `build` brings trained weights."""
LR_SPARSITY = 0.8
"""At which `fine_tune.lr` is the highest rate."""


@dataclass(frozen=True, kw_only=True)
class FineTuneSpec(GradientStepsSpec):
    """Training of the surviving weights after pruning; GradientStepsSpec has the rest.

    lr                highest learning rate, of a model that lost 80 % of its prunable weights
    sparsity_power    where single weights go, the highest rate is lr x (share removed / 0.8)^power:
                      a model that lost little has little to learn and much to forget; 0: always lr
    fuser_lr          factor of the learning rate for the weights of the fuser (fusion.fuser), which
                      are new where the checkpoint was trained with another one
    distill_features, distill_heads  weight of the distance to the dense model's BEV maps (relative
                      squared) and head outputs (relative squared); 0: no teacher
    """

    steps: int = 50
    batch_size: int = 2
    lr: float = 2e-4
    sparsity_power: float = 8.0
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    warmup: int | float = 5
    clip: float = 10.0
    fuser_lr: float = 1.0
    distill_features: float = 2.0
    distill_heads: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, steps=0, sparsity_power=0.0, fuser_lr=0.0)
        _at_least(self, distill_features=0.0, distill_heads=0.0)

    def rate_at(self, sparsity: float) -> float:
        """The highest learning rate where such a share of the single weights is removed."""
        return self.lr * (sparsity / LR_SPARSITY) ** self.sparsity_power


class Parts(NamedTuple):
    """What a trial has in the place of a task of its own."""

    model: ModelSpec
    train: DataSpec
    val: DataSpec


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Everything that defines one trial: same spec, same machine type, same numbers.

    task         a model, its data and metrics of one's own, in the place of model, train, val,
                 image, augment and tracker
    checkpoint   the dense weights; "none" with a task whose model comes with trained ones
    trade_off    if given, the allocation is found from the criterion's scores at this trade-off;
                 the sparsities of `allocation` are not used, its rule is
    cross_prune  if given, the criterion's scores only warm-start CrossPrune's ADMM, run on the
                 scoring batches
    repair       of the kept weights after the cut, before any training
    norm_frames  training frames, not augmented, on which batch norms' running statistics are
                 measured again after the cut and before every evaluation; 0: they stay
    tracker      if given, detections on nuScenes-format data are linked into tracks, for AMOTA
    own_metrics  of one's own, that follow from the trial's others; those among a sweep's objectives
                 it adds itself
    latency      if given, the deployed model's forward pass is timed on the trial's device; a sweep
                 with latency_ms among its objectives or constraints gives it itself
    checkpoint_activations  the camera backbone's are computed again in each backward pass, of
                 scores and of training, and not kept: less memory, more time, the same numbers
    loader_workers  processes that read frames ahead; 0: the trial's own
    on_bad_sample   a frame that cannot be read ends the trial ("raise"), or is left out and counted
                    in the metrics skipped_samples and skipped_training_samples ("skip")
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    task: NamedTask | None = None
    model: AnyModel | None = None
    checkpoint: str
    train: AnyData | None = None
    val: AnyData | None = None
    image: ImageSpec = field(default_factory=ImageSpec)
    augment: AugmentSpec | None = None
    criterion: AnyCriterion
    allocation: SparsityAllocation = field(default_factory=SparsityAllocation)
    trade_off: TradeOff | None = None
    cross_prune: CrossPrune | None = None
    repair: Repair = field(default_factory=Repair)
    norm_frames: int = 16
    tracker: AnyTracker | None = None
    own_metrics: list[OwnMetric] = field(default_factory=list)
    score_batches: int = 4
    fine_tune: FineTuneSpec = field(default_factory=FineTuneSpec)
    cost_frames: int = 4
    latency: LatencySpec | None = None
    seed: int = 0
    threads: int = 1
    device: Device = "auto"
    checkpoint_activations: bool = False
    loader_workers: int = 0
    on_bad_sample: OnBadSample = "raise"

    def __post_init__(self) -> None:
        _at_least(
            self, score_batches=1, norm_frames=0, cost_frames=1, seed=0, threads=1, loader_workers=0
        )
        if self.task is not None:
            self._check_alone()
        self.measured()
        if self.trade_off is not None and self.allocation.pattern != "unstructured":
            raise InputError(
                f"trade_off: given with allocation.pattern {self.allocation.pattern!r}; allowed: "
                "unstructured"
            )
        if self.task is None and self.parts.model.task == "map":
            require_maps("train", self.parts.train)

    def measured(self) -> tuple[str, ...]:
        """Names of the metrics. InputError for a model, data, tracker that do not go together."""
        skipped = (SKIPPED, SKIPPED_TRAINING) if self.on_bad_sample == "skip" else ()
        timed = LATENCY if self.latency is not None else ()
        own = tuple(type(metric).__name__ for metric in self.own_metrics)
        taken = [name for name in own if name in (*OBJECTIVES, *COST) or own.count(name) > 1]
        if taken:
            raise InputError(
                f"own_metrics: the class name {taken[0]!r} is taken; allowed: names of their own"
            )
        if self.task is not None:
            return (*self._task_metrics(), *COST, *timed, *own)
        found = measured(self.parts.model.task, self.parts.val, self.tracker)
        return (*found, *timed, *skipped, *own)

    @property
    def architecture(self) -> Architecture:
        """What builds the model, by its own name: the task of one's own, or the model's spec."""
        return self.parts.model if self.task is None else self.task

    @property
    def parts(self) -> Parts:
        """Model and data of a catalogue. InputError for one that is missing, and for a trial that
        has a task of its own.
        """
        if self.task is not None:
            raise InputError(
                f"task: value {self.task.name!r}; allowed here: model, train and val of a catalogue"
            )
        for name in ("model", "train", "val"):
            if getattr(self, name) is None:
                raise InputError(f"{name}: missing; it has no default")
        assert self.model is not None and self.train is not None and self.val is not None
        for name in ("train", "val"):
            if not isinstance(data := getattr(self, name), (NuScenesSpec, KittiSpec)):
                raise InputError(
                    f"{name}.name: value {data.name!r}: {type(data).__name__} is no NuScenesSpec "
                    "or KittiSpec; allowed: a subclass of one; other data are a task's"
                )
        return Parts(self.model, self.train, self.val)

    def build(self) -> nn.Module:
        """A model with initial weights, from torch's global generator."""
        if self.task is None:
            return build(self.parts.model)
        try:
            found = self.task.build()
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"task {self.task.name}: build raised {one_line_with_type(error, 200)}"
            ) from error
        if not isinstance(found, nn.Module):
            raise InputError(
                f"task {self.task.name}: build returned {type(found).__name__}; allowed: a "
                "torch.nn.Module"
            )
        return found

    def groups(self, model: nn.Module) -> ModalityGroups:
        """Its modality groups: the task's own, or by the first part of each name."""
        own = getattr(self.task, "groups", None)
        if not callable(own):
            return ModalityGroups.from_model(model)
        found = own(model)
        if not isinstance(found, ModalityGroups):
            assert self.task is not None
            raise InputError(
                f"task {self.task.name}: groups returned {type(found).__name__}; allowed: "
                "sparsefront.ModalityGroups"
            )
        return found

    def train_scenes(self) -> Scenes:
        """The frames to fine-tune on."""
        return open_scenes(self.parts.train, self.on_bad_sample)

    def val_scenes(self) -> Scenes:
        """The frames to measure on."""
        return open_scenes(self.parts.val, self.on_bad_sample)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready nested dict; `spec_from_dict` reads it back to an equal spec."""
        found = dataclasses.asdict(self)
        named = ("task", "own_metrics", "criterion", "model", "train", "val", "tracker")
        return {n: to_plain(part) if n in named else part for n, part in found.items()}

    def _task_metrics(self) -> tuple[str, ...]:
        assert self.task is not None
        metrics = self.task.metrics
        wrong = None if isinstance(metrics, Mapping) else metrics
        if wrong is None:
            wrong = next((m for m in metrics.values() if not isinstance(m, Metric)), None)
        if wrong is not None:
            raise InputError(
                f"task: metrics of {self.task.name}: value {str(wrong)[:60]!r}; allowed: a mapping "
                "of names to sparsefront.Metric"
            )
        names = tuple(metrics)
        taken = [name for name in names if name in (*COST, *LATENCY)]
        if not names or taken:
            raise InputError(
                f"task: metrics of {self.task.name}: value {', '.join(names) or 'none'}; allowed: "
                f"at least one, and none of {', '.join((*COST, *LATENCY))}, which every trial has"
            )
        return names

    def _check_alone(self) -> None:
        """InputError for fields that a task of one's own says itself."""
        for field_ in dataclasses.fields(self):
            if field_.name in TASK_SAYS and getattr(self, field_.name) != _default(field_):
                raise InputError(f"{field_.name}: given beside task, which says it; allowed: none")
        if self.fine_tune.batch_size != FineTuneSpec().batch_size:
            raise InputError(
                f"fine_tune.batch_size: value {self.fine_tune.batch_size!r} beside task, whose "
                "training_batches says it; allowed: none"
            )


TASK_SAYS = (
    "model", "train", "val", "image", "augment", "tracker", "loader_workers", "on_bad_sample",
)  # fmt: skip


def _default(of: dataclasses.Field[Any]) -> Any:
    made = of.default_factory
    return of.default if made is dataclasses.MISSING else made()


def spec_from_dict(data: dict[str, Any], source: str | Path = "trial") -> TrialSpec:
    """TrialSpec from its JSON data, of earlier versions too. InputError, naming the source, for
    unknown fields and wrong values.
    """
    data = with_later_fields(upgraded_trial(data))
    try:
        spec: TrialSpec = adapter(TrialSpec).validate_json(json.dumps(data))
    except ValidationError as error:
        raise InputError(f"{source}: {message_of(error, data)}") from error
    return spec


def _at_least(spec: object, **lowest: float) -> None:
    for name, low in lowest.items():
        if getattr(spec, name) < low:
            raise InputError(f"{name}: value {getattr(spec, name)!r}; allowed: {low} and above")
