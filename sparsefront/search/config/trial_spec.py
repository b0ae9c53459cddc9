"""What defines a trial, and what a trial measured. Both are plain data with a JSON round trip."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from sparsefront.errors import InputError
from sparsefront.models import ModelSpec
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.criteria import Criterion
from sparsefront.pruning.crossprune import CrossPrune
from sparsefront.pruning.latency import LatencySpec
from sparsefront.pruning.repair.options import Repair
from sparsefront.scenes.frame import OnBadSample
from sparsefront.scenes.loader import AugmentSpec, ImageSpec
from sparsefront.scenes.scoring.tracker import TrackerSpec
from sparsefront.search.config.data import DataSpec, Scenes, open_scenes
from sparsefront.search.config.device import Device
from sparsefront.search.config.gradient_steps import GradientStepsSpec
from sparsefront.search.config.metric_names import (
    LATENCY,
    SKIPPED,
    SKIPPED_TRAINING,
    measured,
    require_maps,
)
from sparsefront.search.config.older_files import upgraded_trial, with_later_fields
from sparsefront.search.config.strict_yaml import adapter, message_of
from sparsefront.search.config.trade_off import TradeOff

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


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Everything that defines one trial: same spec, same machine type, same numbers.

    trade_off    if given, the allocation is found from the criterion's scores at this trade-off;
                 the sparsities of `allocation` are not used, its rule is
    cross_prune  if given, the criterion's scores only warm-start CrossPrune's ADMM, run on the
                 scoring batches
    repair       of the kept weights after the cut, before any training
    norm_frames  training frames, not augmented, on which batch norms' running statistics are
                 measured again after the cut and before every evaluation; 0: they stay
    tracker      if given, detections on nuScenes-format data are linked into tracks, for AMOTA
    latency      if given, the deployed model's forward pass is timed on the trial's device; a sweep
                 with latency_ms among its objectives or constraints gives it itself
    checkpoint_activations  the camera backbone's are computed again in each backward pass, of
                 scores and of training, and not kept: less memory, more time, the same numbers
    loader_workers  processes that read frames ahead; 0: the trial's own
    on_bad_sample   a frame that cannot be read ends the trial ("raise"), or is left out and counted
                    in the metrics skipped_samples and skipped_training_samples ("skip")
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    model: ModelSpec
    checkpoint: str
    train: DataSpec
    val: DataSpec
    image: ImageSpec = field(default_factory=ImageSpec)
    augment: AugmentSpec | None = None
    criterion: Criterion
    allocation: SparsityAllocation = field(default_factory=SparsityAllocation)
    trade_off: TradeOff | None = None
    cross_prune: CrossPrune | None = None
    repair: Repair = field(default_factory=Repair)
    norm_frames: int = 16
    tracker: TrackerSpec | None = None
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
        self.measured()
        if self.trade_off is not None and self.allocation.pattern != "unstructured":
            raise InputError(
                f"trade_off: given with allocation.pattern {self.allocation.pattern!r}; allowed: "
                "unstructured"
            )
        if self.model.task == "map":
            require_maps("train", self.train)

    def measured(self) -> tuple[str, ...]:
        """Names of the metrics. InputError for a model, data, tracker that do not go together."""
        skipped = (SKIPPED, SKIPPED_TRAINING) if self.on_bad_sample == "skip" else ()
        timed = LATENCY if self.latency is not None else ()
        return (*measured(self.model.task, self.val, self.tracker), *timed, *skipped)

    def train_scenes(self) -> Scenes:
        """The frames to fine-tune on."""
        return open_scenes(self.train, self.on_bad_sample)

    def val_scenes(self) -> Scenes:
        """The frames to measure on."""
        return open_scenes(self.val, self.on_bad_sample)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready nested dict; `spec_from_dict` reads it back to an equal spec."""
        return dataclasses.asdict(self)


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
