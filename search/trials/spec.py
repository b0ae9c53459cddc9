"""What defines a trial, and what a trial measured. Both are plain data with a JSON round trip."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict
from torch import Tensor

from models import ModelSpec
from pruning.allocation import SparsityAllocation
from pruning.channels.removal import Kept
from pruning.criteria import Criterion
from pruning.crossprune import CrossPrune
from pruning.latency import LatencySpec
from scenes.frame import OnBadSample
from scenes.loader import AugmentSpec, ImageSpec
from scenes.scoring.tracker import TrackerSpec
from search.data import DataSpec, Scenes, open_scenes
from search.strict_yaml import adapter
from search.tasks import LATENCY, SKIPPED, SKIPPED_TRAINING, measured, require_maps
from search.trials.trade_off import TradeOff


@dataclass(frozen=True, kw_only=True)
class FineTuneSpec:
    """Training of the surviving weights after pruning: AdamW, gradient clipping, warm-up.

    schedule          "cosine": linear warm-up over `warmup` steps, then cosine to 0; "one_cycle":
                      cosine from 1/25 up over `warmup` steps, then cosine down
    precision         "bfloat16": mixed precision by autocast, for GPUs
    ema               decay of the moving average that is kept instead of the last weights; 0: off
    fuser_lr          factor of the learning rate for the weights of the fuser (fusion.fuser), which
                      are new where the checkpoint was trained with another one
    distill_features, distill_heads  weight of the distance to the dense model's BEV maps (relative
                      squared) and head outputs (relative squared); 0: no teacher
    """

    steps: int = 50
    batch_size: int = 2
    lr: float = 2e-4
    fuser_lr: float = 1.0
    weight_decay: float = 0.01
    warmup: int = 5
    clip: float = 10.0
    batch_norm: Literal["eval", "train"] = "train"
    schedule: Literal["cosine", "one_cycle"] = "cosine"
    precision: Literal["float32", "bfloat16"] = "float32"
    ema: float = 0.0
    distill_features: float = 0.0
    distill_heads: float = 0.0

    def __post_init__(self) -> None:
        _at_least(
            self, steps=0, batch_size=1, lr=0.0, fuser_lr=0.0, weight_decay=0.0, warmup=0, ema=0.0,
            distill_features=0.0, distill_heads=0.0,
        )  # fmt: skip
        if self.ema >= 1:
            raise ValueError(f"ema: value {self.ema!r}; allowed: 0 <= x < 1")
        if self.clip <= 0:
            raise ValueError(f"clip: value {self.clip!r}; allowed: above 0")


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Everything that defines one trial: same spec, same machine type, same numbers.

    trade_off    if given, the allocation is found from the criterion's scores at this trade-off;
                 the sparsities of `allocation` are not used, its rule is
    cross_prune  if given, the criterion's scores only warm-start CrossPrune's ADMM, run on the
                 scoring batches
    tracker      if given, detections on nuScenes-format data are linked into tracks, for AMOTA
    latency      if given, the deployed model's forward pass is timed on the trial's device; a sweep
                 with latency_ms among its objectives or constraints gives it itself
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
    tracker: TrackerSpec | None = None
    score_batches: int = 4
    fine_tune: FineTuneSpec = field(default_factory=FineTuneSpec)
    cost_frames: int = 4
    latency: LatencySpec | None = None
    seed: int = 0
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loader_workers: int = 0
    on_bad_sample: OnBadSample = "raise"

    def __post_init__(self) -> None:
        _at_least(self, score_batches=1, cost_frames=1, seed=0, threads=1, loader_workers=0)
        self.measured()
        if self.trade_off is not None and self.allocation.pattern != "unstructured":
            raise ValueError(
                f"trade_off: given with allocation.pattern {self.allocation.pattern!r}; allowed: "
                "unstructured"
            )
        if self.model.task == "map":
            require_maps("train", self.train)

    def measured(self) -> tuple[str, ...]:
        """Names of the metrics. ValueError for a model, data, tracker that do not go together."""
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


Look = dict[str, Any]
"""A trial at a rung: steps, frames (their share), total_s until then, metrics."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Everything one trial measured. All plain floats and dicts.

    metrics                those of the task (search/tasks.py), then those of cost: GFLOPs, GMACs,
                           parameters, nonzeros and bytes (pruning/stored_size.py) of the deployed
                           model, NAME_dense of the dense one, sparsity; latency_ms where asked for
    per_modality_sparsity  fraction removed of each modality's prunable weights, as achieved
    per_modality_GMACs     multiply-accumulates after pruning, by modality (1e9, one frame)
    per_class              the task's metrics by class: AP.car, IoU.walkway, AP3D.cyclist, ...
    tp_errors              the five true-positive errors of nuScenes detection
    per_layer_sparsity     the allocation as resolved: fraction removed of each prunable weight
    cost                   ModelCost as JSON data, with the frames it was counted on
    timings                seconds: prepare_s, prune_s, fine_tune_s, evaluate_s, total_s
    losses                 fine-tuning loss, one value a step
    admm                   residuals and terms of CrossPrune's rounds
    looks                  on the way there: steps, frames, total_s so far and metrics of each rung
    notes                  what else one should know, such as a checkpoint that was unreadable
    latency                of the deployed and the dense model, with quartiles and device, if timed
    environment            versions and device of the process that ran it; empty in older results
    """

    metrics: dict[str, float]
    per_modality_sparsity: dict[str, float]
    per_modality_GMACs: dict[str, float]
    per_class: dict[str, float]
    tp_errors: dict[str, float]
    per_layer_sparsity: dict[str, float]
    cost: dict[str, Any]
    timings: dict[str, float]
    losses: list[float] = field(default_factory=list)
    admm: list[dict[str, float]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    latency: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_finite(self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict; `result_from_dict` reads it back bit for bit (floats as repr)."""
        return dataclasses.asdict(self)


def check_finite(metrics: Mapping[str, float]) -> None:
    """ArithmeticError for a number that nothing can be ranked by."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ArithmeticError(f"metric {name} is not finite: {value}")


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """A result with the tensors it was measured on.

    spec        the trial, a trade-off turned into its allocation
    asked       the trial as it was asked for
    mask        bool, what stays of each prunable weight
    state_dict  the whole model's, pruned weights zero
    channels    positions left along each axis of each tensor, where whole channels were removed
    """

    result: TrialResult
    spec: TrialSpec
    asked: TrialSpec
    mask: dict[str, Tensor]
    state_dict: dict[str, Tensor]
    channels: Kept = field(default_factory=dict)


def spec_from_dict(data: dict[str, Any]) -> TrialSpec:
    """TrialSpec from its JSON data, strictly: unknown fields raise (pydantic.ValidationError)."""
    spec: TrialSpec = adapter(TrialSpec).validate_json(json.dumps(data))
    return spec


def result_from_dict(data: dict[str, Any]) -> TrialResult:
    """TrialResult from its JSON data; NaN true-positive errors survive the round trip."""
    if "per_class_AP" in data:  # written before there were other tasks
        data = {**data, "per_class": {f"AP.{k}": v for k, v in data["per_class_AP"].items()}}
    metrics = data["metrics"]
    if "parameters" in metrics and "parameters_dense" not in metrics:  # was the dense model's
        renamed = {"parameters_dense" if k == "parameters" else k: v for k, v in metrics.items()}
        data = {**data, "metrics": renamed}
    return TrialResult(
        **{f.name: data[f.name] for f in dataclasses.fields(TrialResult) if f.name in data}
    )


def _at_least(spec: object, **lowest: float) -> None:
    for name, low in lowest.items():
        if getattr(spec, name) < low:
            raise ValueError(f"{name}: value {getattr(spec, name)!r}; allowed: {low} and above")
