"""What a trial measured, and how it ended: plain data with a JSON round trip, free of torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict


class IntermediateResult(TypedDict):
    """What a trial measured at a rung, below its full fidelity.

    steps    fine-tuning steps done by then
    frames   share of the evaluation frames that it was measured on, 0..1
    total_s  seconds that the trial had taken by then, on the clock; cpu_s: of the CPU
    metrics  as in TrialResult
    """

    steps: int
    frames: float
    total_s: float
    cpu_s: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Everything one trial measured. All plain floats and dicts.

    metrics                those of the task (config/metric_names.py), then those of cost: GFLOPs,
                           GMACs, parameters, nonzeros and bytes (pruning/stored_size.py) of the
                           deployed model, NAME_dense of the dense one, sparsity; latency_ms where
                           asked for
    per_modality_sparsity  fraction removed of each modality's prunable weights, as achieved
    per_modality_GMACs     multiply-accumulates after pruning, by modality (1e9, one frame)
    per_class              the task's metrics by class: AP.car, IoU.walkway, AP3D.cyclist, ...
    tp_errors              the five true-positive errors of nuScenes detection
    per_layer_sparsity     the allocation as resolved: fraction removed of each prunable weight
    cost                   ModelCost as JSON data, with the frames it was counted on
    timings                seconds: prepare_s, prune_s, fine_tune_s, norms_s, evaluate_s, total_s
    losses                 fine-tuning loss, one value a step
    admm                   residuals and terms of CrossPrune's rounds
    intermediate_results   what was measured at each rung before full fidelity
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
    intermediate_results: list[IntermediateResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    latency: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_finite(self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict; `result_from_dict` reads it back bit for bit (floats as repr)."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class TrialEnd:
    """How a trial ended.

    status    finished; stopped before full fidelity, for good; or failed
    reason    why it was stopped or failed
    result    what a finished trial measured
    costs     what a stopped trial costs: GFLOPs and the other metrics that need no training
    costs_are_lower_bounds  its mask was not known yet, so it could cost more than `costs`
    intermediate_results    what a stopped trial measured at its rungs; none: it was never trained
    seconds, cpu_s          what it took, on the clock and of the CPU
    """

    trial_id: int
    status: Literal["finished", "stopped", "failed"]
    reason: str = ""
    result: TrialResult | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    costs_are_lower_bounds: bool = False
    intermediate_results: tuple[IntermediateResult, ...] = ()
    seconds: float = 0.0
    cpu_s: float = 0.0

    @staticmethod
    def finished(trial_id: int, result: TrialResult) -> TrialEnd:
        return TrialEnd(
            trial_id=trial_id, status="finished", result=result,
            seconds=result.timings.get("total_s", 0.0), cpu_s=result.timings.get("cpu_s", 0.0),
        )  # fmt: skip

    @staticmethod
    def stopped(
        trial_id: int,
        reason: str,
        costs: Mapping[str, float],
        intermediate_results: Sequence[IntermediateResult] = (),
        costs_are_lower_bounds: bool = False,
    ) -> TrialEnd:
        spent: Mapping[str, Any] = intermediate_results[-1] if intermediate_results else {}
        return TrialEnd(
            trial_id=trial_id, status="stopped", reason=reason, costs=costs,
            costs_are_lower_bounds=costs_are_lower_bounds,
            intermediate_results=tuple(intermediate_results),
            seconds=float(spent.get("total_s", 0.0)), cpu_s=float(spent.get("cpu_s", 0.0)),
        )  # fmt: skip

    @staticmethod
    def failed(trial_id: int, reason: str) -> TrialEnd:
        return TrialEnd(trial_id=trial_id, status="failed", reason=reason)

    @property
    def is_free(self) -> bool:
        """Whether it was skipped before any training, and so does not count as a trial."""
        return self.status == "stopped" and not self.intermediate_results


def check_finite(metrics: Mapping[str, float]) -> None:
    """ArithmeticError for a number that nothing can be ranked by."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ArithmeticError(f"metric {name} is not finite: {value}")


def result_from_dict(data: dict[str, Any]) -> TrialResult:
    """TrialResult from its JSON data, of earlier versions too; NaN true-positive errors survive
    the round trip.
    """
    if "per_class_AP" in data:  # written before there were other tasks
        data = {**data, "per_class": {f"AP.{k}": v for k, v in data["per_class_AP"].items()}}
    if "looks" in data:  # 0.1
        data = {**data, "intermediate_results": data["looks"]}
    metrics = data["metrics"]
    if "parameters" in metrics and "parameters_dense" not in metrics:  # was the dense model's
        renamed = {"parameters_dense" if k == "parameters" else k: v for k, v in metrics.items()}
        data = {**data, "metrics": renamed}
    return TrialResult(
        **{f.name: data[f.name] for f in dataclasses.fields(TrialResult) if f.name in data}
    )
