"""One trial end to end on real files: exact sparsity, known cost, the same bits again."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.models import build
from sparsefront.search.cli.measure import evaluate_export
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.exports.export import export, load_small
from sparsefront.search.runs.run_folder import RunFolder
from sparsefront.search.runs.trial_reader import read_trial
from sparsefront.search.runs.trial_writer import write_trial
from sparsefront.search.tasks.choose import task_of
from sparsefront.search.trial.run_trial import measure, metrics_of, run_trial
from sparsefront.search.trial.shared import prepare


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


def test_trial_repeats_bit_for_bit_and_is_measured_the_same_from_its_folder(
    spec: TrialSpec, tmp_path: Path
) -> None:
    stages: list[str] = []
    outcome = run_trial(spec, report=lambda stage, done: stages.append(stage))
    result = outcome.result

    assert list(dict.fromkeys(stages)) == ["prepare", "prune", "fine_tune", "evaluate"]
    assert {"mAP", "NDS", "GFLOPs", "GMACs", "sparsity"} <= set(result.metrics)
    assert result.metrics["GFLOPs"] == 2 * result.metrics["GMACs"]
    assert result.metrics["GMACs"] < result.metrics["GMACs_dense"]
    for modality, requested in spec.allocation.per_modality.items():
        assert result.per_modality_sparsity[modality] == pytest.approx(requested, abs=2e-3)
    for name, kept in outcome.weights.mask.items():
        assert not outcome.weights.state[name][~kept].any()
    assert len(result.losses) == spec.fine_tune.steps

    again = run_trial(spec, pickle.loads(pickle.dumps(prepare(spec))))
    assert again.result.metrics == result.metrics
    state = again.weights.state
    assert all(torch.equal(v, state[k]) for k, v in outcome.weights.state.items())

    run = RunFolder(runs=tmp_path, name="one")
    write_trial(run, 3, outcome)
    stored = read_trial(run, 3)
    assert stored.spec == spec
    assert stored.result.metrics == result.metrics
    scores, cost = measure(stored.spec, stored.weights())
    measured = metrics_of(scores, cost)
    assert measured == {name: result.metrics[name] for name in measured}


def test_zeros_that_training_may_move_count_whole(spec: TrialSpec) -> None:
    """From a checkpoint with many zeros, a kept zero is a weight like any other."""
    shared = prepare(spec)
    state = {k: v.clone() for k, v in shared.state[spec.checkpoint].items()}
    name = max((k for k in state if k.endswith("weight")), key=lambda k: state[k].numel())
    state[name].view(-1)[::2] = 0
    requested = dict.fromkeys(spec.allocation.per_modality, 0.0)
    untouched = with_values(spec, {"allocation": {"per_modality": requested}})
    metrics = run_trial(untouched, replace(shared, state={spec.checkpoint: state})).result.metrics
    assert metrics["nonzeros"] == metrics["parameters_dense"]
    assert metrics["GMACs"] == metrics["GMACs_dense"]


def test_statistics_are_shared_between_allocations(spec: TrialSpec) -> None:
    shared = prepare(spec)
    other = with_values(spec, {"allocation.per_modality.camera": 0.8, "fine_tune.steps": 0})
    assert prepare(other, shared).statistics.keys() == shared.statistics.keys()
    result = run_trial(other, shared).result
    assert result.losses == []
    assert result.per_modality_sparsity["camera"] == pytest.approx(0.8, abs=2e-3)


def test_loss_that_is_not_finite_raises(spec: TrialSpec, tmp_path: Path) -> None:
    shared = prepare(spec)
    state = {k: v.clone() for k, v in shared.state[spec.checkpoint].items()}
    name = next(k for k in state if k.startswith("fusion.head") and k.endswith("bias"))
    state[name].fill_(float("nan"))
    broken = replace(shared, state={spec.checkpoint: state})
    with pytest.raises(ArithmeticError, match="not finite"):
        run_trial(spec, broken)


def test_fields_of_cross_prune_are_searched_and_its_rounds_kept(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """Every lambda and rho is a searchable field; the ADMM's rounds are in the result."""
    sweep_data["trial"]["cross_prune"] = {"num_rounds": 2, "steps": 1}
    spec = read_sweep(write_yaml(sweep_data)).trial
    spec = with_values(spec, {"cross_prune.lambdas.camera": 0.25, "cross_prune.rho": 0.5})
    assert spec.cross_prune is not None
    assert spec.cross_prune.lambdas == {"camera": 0.25, "lidar": 1.0, "fusion": 1.0}
    result = run_trial(spec).result
    assert len(result.admm) == 2
    assert {"primal", "dual", "loss", "distortion.fusion"} <= set(result.admm[0])
    for modality, requested in spec.allocation.per_modality.items():
        assert result.per_modality_sparsity[modality] == pytest.approx(requested, abs=2e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "one_cycle", "ema": 0.9},
        {"distill_features": 1.0, "distill_heads": 0.5, "precision": "bfloat16"},
    ],
)
def test_fine_tuning_options_change_weights_and_hold_the_mask(
    spec: TrialSpec, options: dict[str, Any]
) -> None:
    """Each option changes the weights, none lets a pruned weight live."""
    spec = with_values(spec, {"fine_tune.distill_features": 0.0})
    tuned = replace(spec, fine_tune=replace(spec.fine_tune, **options))
    shared = prepare(spec)
    plain, other = run_trial(spec, shared), run_trial(tuned, shared)
    state = other.weights.state
    assert any(not torch.equal(v, state[k]) for k, v in plain.weights.state.items())
    for name, kept in other.weights.mask.items():
        assert not state[name][~kept].any()
    if "distill_features" in options:  # the student differs from its teacher
        assert other.result.losses[0] > plain.result.losses[0]


def test_smaller_model_is_measured_stored_and_exported(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """Whole channels: the smaller model is what is measured, stored and exported."""
    sweep_data["trial"]["allocation"]["pattern"] = "channel"
    spec = read_sweep(write_yaml(sweep_data)).trial
    outcome = run_trial(spec)
    metrics = outcome.result.metrics
    assert outcome.weights.channels
    assert metrics["GMACs"] < 0.8 * metrics["GMACs_dense"]

    run = RunFolder(runs=tmp_path, name="channels")
    write_trial(run, 0, outcome)
    stored = read_trial(run, 0)
    scores, cost = measure(stored.spec, stored.weights())
    assert {k: metrics[k] for k in metrics_of(scores, cost)} == metrics_of(scores, cost)

    run.sweep_file.write_bytes(write_yaml(sweep_data).read_bytes())
    folder = export("channels", tmp_path, "trial:0", tmp_path / "out")
    assert "Whole channels are gone" in (folder / "report.md").read_text()
    measured = evaluate_export(folder)
    assert measured["metrics"]["mAP"] == metrics["mAP"]
    small = load_small(folder)
    full = build(spec.model)
    full.load_state_dict(outcome.weights.state)
    batch = task_of(spec).cost_batches(1)[0]
    with torch.no_grad():
        for name, value in full.eval()(batch).items():
            assert torch.allclose(small(batch)[name], value, rtol=0, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in full.parameters())
