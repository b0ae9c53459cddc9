"""Every objective: a direction, a gain from 0 at its worst to 1 at its best, and a clear error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.cli.measure import evaluate_export, latency_note
from sparsefront.search.config.metric_names import COST, LATENCY, NEEDS
from sparsefront.search.config.objectives import OBJECTIVES, Bound, violations
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_outcome import TrialOutcome
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.exports.export import export, load_export
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.trial.run_trial import run_trial

DENSE = {
    "GMACs_dense": 50.0, "parameters_dense": 4e7, "bytes_dense": 1.6e8, "latency_ms_dense": 120.0,
}  # fmt: skip
"""Of a published BEVFusion, about."""

LIMITS = {
    **dict.fromkeys(("mAP", "NDS", "AMOTA", "mIoU", "AP3D", "APBEV", "AP2D", "AOS"), (0.0, 1.0)),
    "AMOTP": (2.0, 0.0), "GFLOPs": (100.0, 0.0), "nonzeros": (4e7, 0.0), "parameters": (4e7, 0.0),
    "bytes": (1.6e8, 0.0), "latency_ms": (120.0, 0.0),
}  # fmt: skip
"""Worst and best value of each objective."""


def at(share: float) -> TrialResult:
    """Every metric at a share of the way from its worst to its best value."""
    found = {name: worst + share * (best - worst) for name, (worst, best) in LIMITS.items()}
    return TrialResult(
        metrics={**DENSE, **found}, per_modality_sparsity={}, per_modality_GMACs={}, per_class={},
        tp_errors={}, per_layer_sparsity={}, cost={}, timings={},
    )  # fmt: skip


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_gain_runs_from_the_worst_to_the_best_value(name: str) -> None:
    objective = OBJECTIVES[name]
    assert objective.name == name
    assert objective.direction == ("max" if LIMITS[name][1] == 1.0 else "min")
    assert objective.direction == "max" or objective.unit
    assert objective.gain(at(0.0)) == 0.0
    assert objective.gain(at(1.0)) == 1.0
    gains = [objective.gain(at(share / 10)) for share in range(11)]
    assert gains == pytest.approx([share / 10 for share in range(11)])
    better = objective.function(at(0.7)) - objective.function(at(0.6))
    assert (better > 0) == (objective.direction == "max")


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_missing_metric_is_named_in_one_line(name: str) -> None:
    """One line that names the metric and what there is; the same from a constraint."""
    lacking = at(0.5)
    del lacking.metrics[name]
    said = f"metric '{name}' was not measured by this trial; it has: GMACs_dense, "
    for ask in (
        lambda: OBJECTIVES[name].function(lacking),
        lambda: OBJECTIVES[name].gain(lacking),
        lambda: violations(lacking, {name: Bound(max=1.0)}),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert str(error.value).startswith(said)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_the_costliest_dense_model_is_the_reference(name: str) -> None:
    """Where dense models differ, the costliest one is the worst for all: gains stay in 0..1."""
    objective, small = OBJECTIVES[name], at(0.5)
    large = replace(small, metrics={**small.metrics, **{k: 2 * v for k, v in DENSE.items()}})
    worst = objective.worst_of([small, large])
    assert worst == objective.worst(large)
    assert objective.gain(small, worst) == objective.gain(large, worst)
    assert 0 <= objective.gain(small, worst) <= 1


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_bounds_give_signed_violations(name: str) -> None:
    half = at(0.5).metrics[name]
    found = violations(at(0.5), {name: Bound(min=half / 2, max=half / 4)})
    assert found == {
        f"{name}<={half / 4:g}": pytest.approx(3 * half / 4),
        f"{name}>={half / 2:g}": pytest.approx(-half / 2),
    }


def test_every_objective_is_measured_by_some_trial() -> None:
    assert set(LIMITS) == set(OBJECTIVES) <= {*NEEDS, *COST}


@pytest.fixture(params=["unstructured", "2:4", "channel"])
def spec(request: Any, sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    """A tiny trial that measures everything that goes with boxes."""
    sweep_data["objectives"] = ["mAP", "AMOTA", "latency_ms", "parameters", "bytes"]
    sweep_data["trial"] |= {"tracker": {"name": "greedy_velocity"}, "latency": {"repeats": 4}}
    shares = {"camera": 0.5, "lidar": 0.5, "fusion": 0.5}
    if request.param == "2:4":
        shares = {"camera.neck": 0.5}
    kind = "per_stage" if request.param == "2:4" else "per_modality"
    asked = {kind: shares, "pattern": request.param}
    return with_values(read_sweep(write_yaml(sweep_data)).trial, {"allocation": asked})


def test_a_real_trial_measures_what_its_export_repeats(
    spec: TrialSpec, sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """Plausible values; what is stored has the bytes it is said to have; an export's evaluation
    gives all of it back, a latency measured anew and said to be.
    """
    outcome = run_trial(spec)
    metrics = outcome.result.metrics
    measured = [name for name in OBJECTIVES if name in metrics]
    assert set(metrics) == set(spec.measured()) and len(measured) == 9
    for name in set(measured) - {"latency_ms"}:
        assert 0 <= OBJECTIVES[name].gain(outcome.result) <= 1
    smaller = spec.allocation.pattern == "channel"
    assert (metrics["parameters"] < metrics["parameters_dense"]) == smaller
    assert metrics["latency_ms"] > 0
    assert (metrics["latency_ms"] == metrics["latency_ms_dense"]) or smaller
    assert set(outcome.result.latency) == {"deployed", "dense"}
    assert outcome.result.latency["deployed"]["repeats"] == 4

    folder = exported(spec, outcome, sweep_data, write_yaml, tmp_path)
    answer = evaluate_export(folder)
    kept = {name for name in metrics if name not in LATENCY}
    assert {name: answer["metrics"][name] for name in kept} == {
        name: metrics[name] for name in kept
    }
    assert set(answer["metrics"]) == set(metrics)
    before = outcome.result.latency["deployed"]["text"]
    assert latency_note(answer).startswith("latency_ms measured anew: ")
    assert latency_note(answer).endswith(f"; by the trial: {before}")
    assert before in (folder / "report.md").read_text()

    found = load_export(folder)
    payload = sum(t.numel() * t.element_size() for t in found.weights.state.values())
    assert metrics["bytes_dense"] == payload
    if smaller:
        assert metrics["bytes"] == tensor_bytes(folder / "small.safetensors")
        assert metrics["parameters"] < 0.8 * metrics["parameters_dense"]
    else:
        saved = sum(
            max(0, 4 * int((~kept).sum()) - -(-kept.numel() // 8))
            for kept in found.weights.mask.values()
        )
        assert metrics["bytes"] == payload - saved
        assert saved > 0


def exported(
    spec: TrialSpec, outcome: TrialOutcome, data: dict[str, Any], write_yaml: Any, out: Path
) -> Path:
    run = RunFolder(runs=out, name="one")
    write_trial(run, 0, outcome)
    run.sweep_file.write_bytes(write_yaml(data).read_bytes())
    return export("one", out, "trial:0", out / "exported")


def tensor_bytes(file: Path) -> int:
    """Bytes of the tensors in a safetensors file: all but its length field and header."""
    with open(file, "rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
    return file.stat().st_size - 8 - header
