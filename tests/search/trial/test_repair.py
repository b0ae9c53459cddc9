"""The repair as a part of a trial: what is refitted, what is measured again, what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.models.channels_last import channels_last
from sparsefront.models.checkpoint import store
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.repair.norms import reestimate_norms
from sparsefront.pruning.repair.options import Repair
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec, spec_from_dict
from sparsefront.search.evaluation.calibration import calibration_batches, run
from sparsefront.search.trial.run_trial import run_trial
from sparsefront.search.trial.shared import dense_model, prepare

NO_STEPS = {"fine_tune.steps": 0}
OFF = {"norm_frames": 0, "repair": {"method": "none"}}


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


def test_kept_weights_are_refitted_and_norms_fit_them(spec: TrialSpec) -> None:
    spec = with_values(spec, {**NO_STEPS, "norm_frames": 4})
    shared = prepare(spec)
    weights = run_trial(spec, shared).weights
    dense = dense_model(spec, shared).state_dict()
    moved = [
        n for n, kept in weights.mask.items() if not torch.equal(weights.state[n], dense[n] * kept)
    ]
    assert len(moved) > len(weights.mask) / 2
    model = build(spec.model)
    channels_last(model)  # as a trial computes
    store.load_into(model, weights.state, "the trial")
    batches = calibration_batches(spec.train_scenes(), spec.image, spec.seed, 4, "cpu")
    reestimate_norms(model, batches, run)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights.state[name]), name


def test_norms_are_measured_after_the_last_step(spec: TrialSpec) -> None:
    """Whatever the steps left there; a moving average's own weights have their own statistics."""
    for ema in (0.0, 0.5):
        spec = with_values(spec, {"fine_tune.ema": ema, "norm_frames": 4})
        weights = run_trial(spec).weights
        model = build(spec.model)
        channels_last(model)
        store.load_into(model, weights.state, "the trial")
        batches = calibration_batches(spec.train_scenes(), spec.image, spec.seed, 4, "cpu")
        reestimate_norms(model, batches, run)
        assert all(torch.equal(v, weights.state[n]) for n, v in model.state_dict().items())


def test_all_of_it_can_be_off(spec: TrialSpec) -> None:
    spec = with_values(spec, {**NO_STEPS, **OFF})
    shared = prepare(spec)
    assert shared.moments == {}
    weights = run_trial(spec, shared).weights
    for name, value in dense_model(spec, shared).state_dict().items():
        kept = weights.mask.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(weights.state[name], value * kept), name


def test_model_that_loses_nothing_stays_as_it_is(spec: TrialSpec) -> None:
    """With steps, too: their rate is 0, as nothing was removed."""
    spec = replace(with_values(spec, {"norm_frames": 0}), allocation=SparsityAllocation())
    shared = prepare(spec)
    weights = run_trial(spec, shared).weights
    dense = dense_model(spec, shared)
    for name, value in dense.named_parameters():
        assert torch.equal(weights.state[name], value), name


def test_rate_goes_by_what_was_removed(spec: TrialSpec) -> None:
    """lr x (sparsity / 0.8)^2 with the power, lr without: another rate, other weights."""
    base = with_values(spec, {"fine_tune.sparsity_power": 2.0, "fine_tune.lr": 1e-3})
    outcome = run_trial(base)
    removed = outcome.result.metrics["sparsity"]
    same = with_values(
        spec, {"fine_tune.sparsity_power": 0.0, "fine_tune.lr": 1e-3 * (removed / 0.8) ** 2}
    )
    assert run_trial(same).result.losses == outcome.result.losses
    other = with_values(spec, {"fine_tune.sparsity_power": 0.0, "fine_tune.lr": 1e-3})
    assert run_trial(other).result.losses != outcome.result.losses


def test_refined_trial_is_another_one(spec: TrialSpec) -> None:
    plain = with_values(spec, {**NO_STEPS, "repair.frames": 4})
    refined = with_values(plain, {"repair.refine": True})
    shared = prepare(refined)
    state, other = (run_trial(s, shared).weights.state for s in (plain, refined))
    assert any(not torch.equal(value, other[name]) for name, value in state.items())
    run_trial(refined, shared)  # holds its mask


def test_too_few_frames_are_said(spec: TrialSpec) -> None:
    spec = with_values(spec, {**NO_STEPS, "norm_frames": 100_000})
    (note,) = run_trial(spec).result.notes
    assert note == (
        f"norm_frames: value 100000; train has {len(spec.train_scenes().tokens)} that can be read"
    )


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("norm_frames", -1, "0 and above"),
        ("repair.frames", 0, "1 and above"),
        ("repair.damping", -0.1, "0 and above"),
        ("fine_tune.sparsity_power", -1.0, "0.0 and above"),
    ],
)
def test_wrong_values_are_told(spec: TrialSpec, field: str, value: object, allowed: str) -> None:
    name = field.rpartition(".")[2]
    with pytest.raises(InputError, match=f"{name}: value {value}.*allowed: {allowed}"):
        with_values(spec, {field: value})


def test_refine_needs_a_repair() -> None:
    with pytest.raises(InputError, match="refine: value true; allowed with method none: false"):
        Repair(method="none", refine=True)


def test_trial_of_version_0_1_has_no_repair(spec: TrialSpec) -> None:
    data = spec.to_dict()
    for name in ("norm_frames", "repair"):
        del data[name]
    del data["fine_tune"]["sparsity_power"]
    old = spec_from_dict(data)
    assert (old.norm_frames, old.repair.method, old.fine_tune.sparsity_power) == (0, "none", 0.0)
    assert spec_from_dict(spec.to_dict()) == spec
