"""One trial end to end on real files: exact sparsity, known cost, the same bits again."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsefront.models import build
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.mask import PruningMask
from sparsefront.search.cli.measure import of_export
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.exports.export import export, load_small
from sparsefront.search.runs import run_store
from sparsefront.search.trial.checks import check_trial
from sparsefront.search.trial.run_trial import measure, metrics_of, run_trial
from sparsefront.search.trial.shared import cost_batches, prepare


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


def test_trial_measures_and_repeats(spec: TrialSpec, tmp_path: Path) -> None:
    stages: list[str] = []
    outcome = run_trial(spec, report=lambda stage, done: stages.append(stage))
    result = outcome.result

    assert list(dict.fromkeys(stages)) == ["prepare", "prune", "fine_tune", "evaluate"]
    assert {"mAP", "NDS", "GFLOPs", "GMACs", "sparsity"} <= set(result.metrics)
    assert result.metrics["GFLOPs"] == 2 * result.metrics["GMACs"]
    assert result.metrics["GMACs"] < result.metrics["GMACs_dense"]
    for modality, asked in spec.allocation.per_modality.items():
        assert result.per_modality_sparsity[modality] == pytest.approx(asked, abs=2e-3)
    for name, kept in outcome.mask.items():
        assert not outcome.state_dict[name][~kept].any()
    assert len(result.losses) == spec.fine_tune.steps

    again = run_trial(spec, pickle.loads(pickle.dumps(prepare(spec))))
    assert again.result.metrics == result.metrics
    assert all(torch.equal(v, again.state_dict[k]) for k, v in outcome.state_dict.items())

    run = run_store.RunFolder(runs=tmp_path, name="one")
    run_store.write_trial(run, 3, outcome)
    stored = run_store.read_trial(run, 3)
    assert stored.spec == spec
    assert stored.result.metrics == result.metrics
    scores, cost = measure(stored.spec, stored.state_dict(), PruningMask(stored.mask()))
    measured = metrics_of(scores, cost)
    assert measured == {name: result.metrics[name] for name in measured}


def test_zeros_that_training_may_move_count_whole(spec: TrialSpec) -> None:
    """From a checkpoint with many zeros, a kept zero is a weight like any other."""
    shared = prepare(spec)
    state = {k: v.clone() for k, v in shared.state[spec.checkpoint].items()}
    name = max((k for k in state if k.endswith("weight")), key=lambda k: state[k].numel())
    state[name].view(-1)[::2] = 0
    asked = dict.fromkeys(spec.allocation.per_modality, 0.0)
    untouched = with_values(spec, {"allocation": {"per_modality": asked}})
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


def test_unfinished_and_unknown_trials(tmp_path: Path) -> None:
    run = run_store.RunFolder(runs=tmp_path, name="none")
    run_store.write_end(run, TrialEnd.failed(0, "killed for memory"), None)
    assert run.finished() == []
    with pytest.raises(ValueError, match="finished: none"):
        run_store.read_trial(run, 0)
    run_store.remove_unfinished(run, 0)
    assert not run.trial_dir(0).exists()


def test_cross_prune_in_a_trial(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """Every lambda and rho is a searchable field; the ADMM's rounds are in the result."""
    sweep_data["trial"]["cross_prune"] = {"num_rounds": 2, "steps": 1}
    spec = read_sweep(write_yaml(sweep_data)).trial
    spec = with_values(spec, {"cross_prune.lambdas.camera": 0.25, "cross_prune.rho": 0.5})
    assert spec.cross_prune is not None
    assert spec.cross_prune.lambdas == {"camera": 0.25, "lidar": 1.0, "fusion": 1.0}
    result = run_trial(spec).result
    assert len(result.admm) == 2
    assert {"primal", "dual", "loss", "distortion.fusion"} <= set(result.admm[0])
    for modality, asked in spec.allocation.per_modality.items():
        assert result.per_modality_sparsity[modality] == pytest.approx(asked, abs=2e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "one_cycle", "ema": 0.9},
        {"distill_features": 1.0, "distill_heads": 0.5, "precision": "bfloat16"},
    ],
)
def test_fine_tuning_options(spec: TrialSpec, options: dict[str, Any]) -> None:
    """Each option changes the weights, none lets a pruned weight live."""
    tuned = replace(spec, fine_tune=replace(spec.fine_tune, **options))
    shared = prepare(spec)
    plain, other = run_trial(spec, shared), run_trial(tuned, shared)
    assert any(not torch.equal(v, other.state_dict[k]) for k, v in plain.state_dict.items())
    for name, kept in other.mask.items():
        assert not other.state_dict[name][~kept].any()
    if "distill_features" in options:  # the student differs from its teacher
        assert other.result.losses[0] > plain.result.losses[0]


def test_channels_leave_the_model(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """Whole channels: the smaller model is what is measured, stored and exported."""
    sweep_data["trial"]["allocation"]["pattern"] = "channel"
    spec = read_sweep(write_yaml(sweep_data)).trial
    outcome = run_trial(spec)
    metrics = outcome.result.metrics
    assert outcome.channels
    assert metrics["GMACs"] < 0.8 * metrics["GMACs_dense"]

    run = run_store.RunFolder(runs=tmp_path, name="channels")
    run_store.write_trial(run, 0, outcome)
    stored = run_store.read_trial(run, 0)
    scores, cost = measure(
        stored.spec, stored.state_dict(), PruningMask(stored.mask(), channels=stored.channels())
    )
    assert {k: metrics[k] for k in metrics_of(scores, cost)} == metrics_of(scores, cost)

    run.sweep_file.write_bytes(write_yaml(sweep_data).read_bytes())
    folder = export("channels", tmp_path, "trial:0", tmp_path / "out")
    assert "Whole channels are gone" in (folder / "report.md").read_text()
    measured = of_export(folder)
    assert measured["metrics"]["mAP"] == metrics["mAP"]
    small = load_small(folder)
    full = build(spec.model)
    full.load_state_dict(outcome.state_dict)
    batch = cost_batches(spec)[0]
    with torch.no_grad():
        for name, value in full.eval()(batch).items():
            assert torch.allclose(small(batch)[name], value, rtol=0, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in full.parameters())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"pattern": "2:4", "per_modality": {"lidar": 0.5}}, "lidar.encoder.conv_input.0.weight"),
        ({"pattern": "channel", "per_modality": {"lidar": 0.99}}, "channels"),
        (
            {"pattern": "channel", "rule": "erk", "per_modality": {"lidar": 0.5}},
            "rule: value 'erk'",
        ),
        ({"per_layer": {"camera.nothing.weight": 0.5}}, "per_layer.camera.nothing.weight"),
    ],
)
def test_allocations_that_do_not_fit(spec: TrialSpec, fields: dict[str, Any], named: str) -> None:
    spec = replace(spec, allocation=SparsityAllocation(**fields))
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        check_trial(spec)
    assert str(caught.value).startswith("field trial.allocation.")
