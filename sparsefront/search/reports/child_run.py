"""What MLflow is told of one trial, as plain data: its name, parameters, metrics and curves.

MLflow's pages group metrics by what stands before the slash. The objectives and costs stand alone;
sparsity/camera, sparsity/camera.backbone, GMACs/camera, AP/car, TP/trans_err, time/total_s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparsefront.search.config.metric_names import BEFORE_TRAINING
from sparsefront.search.config.trial_result import IntermediateResult, TrialEnd, TrialResult
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.runs.trial_reader import StoredTrial

Point = tuple[str, float, int]
"""A curve's: metric, value, step."""


@dataclass(frozen=True, kw_only=True)
class ChildRun:
    """A trial as MLflow shows it.

    status   FINISHED, FAILED, or KILLED for one that was stopped early
    metrics  one value each
    tags     versions and device of the trial's process: version.torch, ...
    curves   fine_tune/loss by step, admm/... by round, rung/... by step of fine-tuning
    layers   columns of a table: a row a prunable weight
    reason   why it failed or was stopped
    """

    trial_id: int
    name: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    curves: list[Point] = field(default_factory=list)
    layers: Mapping[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str | None = None


def finished_run(trial: StoredTrial, values: Mapping[str, Any]) -> ChildRun:
    result = trial.result
    return ChildRun(
        trial_id=trial.trial_id,
        name=run_name(trial.trial_id, trial.spec, result.per_modality_sparsity),
        status="FINISHED",
        params=_params(values, trial.spec),
        metrics=_metrics(result),
        tags={f"version.{name}": version for name, version in result.environment.items()},
        curves=[*_training(result), *_at_rungs(result.intermediate_results)],
        layers=layer_table(result),
        seconds=result.timings["total_s"],
    )


def stopped_run(end: TrialEnd, values: Mapping[str, Any], spec: TrialSpec | None) -> ChildRun:
    """With the costs that it had before any training, where these are exact."""
    costs = {} if end.costs_are_lower_bounds else end.costs
    return replace(
        failed_run(end, values, spec),
        status="KILLED",
        metrics={name: value for name, value in costs.items() if name in BEFORE_TRAINING},
        curves=_at_rungs(end.intermediate_results),
        seconds=end.seconds,
    )


def failed_run(end: TrialEnd, values: Mapping[str, Any], spec: TrialSpec | None) -> ChildRun:
    return ChildRun(
        trial_id=end.trial_id,
        name=run_name(end.trial_id, spec, _requested(spec)),
        status="FAILED",
        params=_params(values, spec),
        metrics={},
        reason=end.reason,
    )


def run_name(trial_id: int, spec: TrialSpec | None, removed: Mapping[str, float]) -> str:
    """Such as `cam 0.82 lid 0.64 fus 0.55 · altermoma`: the share removed of each modality, and
    the criterion; a trial of which nothing is known goes by its number.
    """
    shares = " ".join(f"{modality[:3]} {share:.2f}" for modality, share in removed.items())
    criterion = str(spec.to_dict()["criterion"]["name"]) if spec is not None else ""
    return " · ".join(part for part in (shares, criterion) if part) or f"trial {trial_id}"


def layer_table(result: TrialResult) -> dict[str, list[Any]]:
    """A row a prunable weight: where it is, parameters, share removed, MACs of one frame."""
    rows = result.cost.get("per_layer", {})
    names = [name for name in result.per_layer_sparsity if name in rows]
    return {
        "weight": names,
        "modality": [name.partition(".")[0] for name in names],
        "parameters": [rows[name]["parameters"] for name in names],
        "removed": [result.per_layer_sparsity[name] for name in names],
        "MACs": [rows[name]["macs"] for name in names],
        "MACs_dense": [rows[name]["macs_dense"] for name in names],
    }


def _requested(spec: TrialSpec | None) -> Mapping[str, float]:
    return {} if spec is None else spec.allocation.per_modality


def _params(values: Mapping[str, Any], spec: TrialSpec | None) -> dict[str, str]:
    """The searched fields, and what else tells trials of several sweeps apart."""
    searched = {name: str(value) for name, value in values.items()}
    if spec is None:
        return searched
    data = spec.to_dict()
    own = {
        "criterion": str(data["criterion"]["name"]),
        "seed": str(spec.seed),
        "model": str((data["model"] or data["task"])["name"]),
        "checkpoint": spec.checkpoint,
        "allocation.pattern": spec.allocation.pattern,
        "fine_tune.steps": str(spec.fine_tune.steps),
    }
    return own | searched


def _metrics(result: TrialResult) -> dict[str, float]:
    found = {
        **result.metrics,
        **{f"sparsity/{name}": v for name, v in result.per_modality_sparsity.items()},
        **{f"sparsity/{name}": v for name, v in _by_stage(result).items()},
        **{f"GMACs/{name}": v for name, v in result.per_modality_GMACs.items()},
        **{name.replace(".", "/", 1): v for name, v in result.per_class.items()},
        **{f"TP/{name}": v for name, v in result.tp_errors.items()},
        **{f"time/{name}": v for name, v in result.timings.items()},
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _by_stage(result: TrialResult) -> dict[str, float]:
    """Share removed of each stage's prunable weights."""
    table = layer_table(result)
    sizes: dict[str, list[float]] = {}
    rows = zip(table["weight"], table["parameters"], table["removed"], strict=True)
    for name, parameters, removed in rows:
        held = sizes.setdefault(".".join(name.split(".")[:2]), [0.0, 0.0])
        held[0] += removed * parameters
        held[1] += parameters
    return {stage: gone / size for stage, (gone, size) in sizes.items()}


def _training(result: TrialResult) -> list[Point]:
    """Fine-tuning loss by step, residuals and terms of ADMM by round."""
    points = [("fine_tune/loss", loss, step) for step, loss in enumerate(result.losses)]
    rounds = enumerate(result.admm)
    return points + [(f"admm/{n}", v, number) for number, terms in rounds for n, v in terms.items()]


def _at_rungs(results: Sequence[IntermediateResult]) -> list[Point]:
    """Apart from the metrics at full fidelity."""
    return [
        (f"rung/{name}", value, result["steps"])
        for result in results
        for name, value in result["metrics"].items()
    ]
