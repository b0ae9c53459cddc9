"""An allocation given by how far along the predicted front it lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.pruning.criteria import Fisher, Magnitude
from sparsefront.search.config.space import with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trade_off import TradeOff
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial.checks import check_trial
from sparsefront.search.trial.run_trial import TrialRun, run_trial
from sparsefront.search.trial.shared import prepare


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    trial = read_sweep(write_yaml(sweep_data)).trial
    tune = replace(trial.fine_tune, steps=0)
    return replace(trial, fine_tune=tune, trade_off=TradeOff(saved=0.5))


def test_trade_off_saves_its_share_of_flops(spec: TrialSpec) -> None:
    """GFLOPs fall evenly with `saved`, from the dense model's to those at `most` everywhere."""
    shared = prepare(spec)
    shares = (0.0, 0.25, 0.5, 1.0)
    runs = [TrialRun(with_values(spec, {"trade_off.saved": s}), shared) for s in shares]
    flops = [run.costs()["GFLOPs"] for run in runs]
    assert flops[0] == runs[0].costs()["GMACs_dense"] * 2
    least = flops[-1]
    for share, found in zip(shares, flops, strict=True):
        expected = flops[0] - share * (flops[0] - least)
        assert found == pytest.approx(expected, rel=0.03)
    assert set(runs[3].spec.allocation.per_stage.values()) == {0.95}


def test_tilt_spares_its_modality(spec: TrialSpec) -> None:
    """Told that the camera loses e^4 as much as its scores say, the trial prunes it less."""
    shared = prepare(spec)
    plain, tilted = (
        TrialRun(replace(spec, trade_off=TradeOff(saved=0.5, groups="modality", tilt=tilt)), shared)
        for tilt in ({}, {"camera": 4.0})
    )
    before = plain.spec.allocation.per_modality
    after = tilted.spec.allocation.per_modality
    assert after["camera"] < before["camera"]
    assert after["lidar"] >= before["lidar"]


def test_tilt_of_a_stage_adds_to_that_of_its_modality() -> None:
    trade_off = TradeOff(saved=0.5, tilt={"camera": 1.0, "camera.neck": 0.5})
    assert trade_off.tilt_of("camera") == 1.0
    assert trade_off.tilt_of("camera.neck") == 1.5
    assert trade_off.tilt_of("camera.backbone") == 1.0
    assert trade_off.tilt_of("lidar.backbone") == 0.0


def test_outcome_of_a_trade_off_is_a_plain_trial(spec: TrialSpec) -> None:
    """What is written has the allocation that was found, and gives the same numbers again."""
    outcome = run_trial(spec)
    assert outcome.spec.trade_off is None
    assert outcome.spec.allocation.per_stage
    assert run_trial(outcome.spec).result.metrics == outcome.result.metrics


def test_predicted_by_decides_whose_scores_predict(spec: TrialSpec) -> None:
    """Fisher and magnitude see different losses, so they find different allocations."""
    found = [
        TrialRun(replace(spec, trade_off=TradeOff(saved=0.5, predicted_by=criterion)))
        for criterion in (Fisher(), Magnitude())
    ]
    first, second = (run.spec.allocation.per_stage for run in found)
    assert first != second


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trade_off": {"saved": 1.5}}, "saved: value 1.5"),
        ({"trade_off": {"saved": 0.5, "most": 1.0}}, "most: value 1.0"),
        ({"allocation.pattern": "2:4", "allocation.per_modality": {}}, "trade_off: given with"),
    ],
)
def test_wrong_fields_are_refused(spec: TrialSpec, fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_values(spec, fields)


def test_tilt_of_an_unknown_part_is_refused(spec: TrialSpec) -> None:
    wrong = replace(spec, trade_off=TradeOff(saved=0.5, tilt={"radar": 1.0}))
    with pytest.raises(InputError, match=r"field trial.trade_off.tilt.radar: the model has none"):
        check_trial(wrong)
