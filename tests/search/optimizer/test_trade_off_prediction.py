"""The recalibrated prediction over a trade-off and its tilts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.pruning.predicted_front import GroupCurve
from sparsefront.search.cli.main import main
from sparsefront.search.config.space import Range, with_values
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trade_off import TradeOff
from sparsefront.search.driver.first_trials import predicts
from sparsefront.search.driver.predictions import prediction_of
from sparsefront.search.driver.sweep import scored_specs
from sparsefront.search.optimizer.ask_and_tell import Optimizer
from sparsefront.search.optimizer.prediction import propose
from sparsefront.search.optimizer.recalibration import TILTS, LossCurve, recalibrated
from sparsefront.search.optimizer.trade_off_prediction import TradeOffPrediction
from sparsefront.search.reports.sweep_view import read_view
from sparsefront.search.trial.run_trial import TrialRun, run_trial
from sparsefront.search.trial.shared import prepare_all

SAVED, TILT = "trade_off.saved", "trade_off.tilt."
STEPS = np.linspace(0.0, 0.9, 10)
CURVES = {
    name: GroupCurve(sparsities=STEPS, loss=weight * STEPS**2, saved=10 * STEPS)
    for name, weight in (("camera.neck", 1.0), ("camera.view", 2.0), ("lidar.encoder", 3.0))
}


def prediction(own: dict[str, float] | None = None, **fields: Any) -> TradeOffPrediction:
    """27 of 40 GFLOPs can be saved."""
    given = {
        "curves": CURVES, "cost": "GFLOPs", "dense": 40.0, "unit": 1.0,
        "worst": {"mAP": 0.0, "GFLOPs": 40.0}, "best": {"mAP": 1.0, "GFLOPs": 0.0},
        "own": TradeOff(saved=0.5, tilt=own or {}), "saved": (SAVED, Range(low=0.1, high=0.9)),
        "tilts": {
            part: (TILT + part, Range(low=-2.0, high=2.0)) for part in ("camera", "camera.view")
        },
    }  # fmt: skip
    return TradeOffPrediction(**(given | fields))


def test_which_tilts_a_group_has() -> None:
    """The modality's for both camera stages, the view's own beside it, none for the LiDAR."""
    assert prediction().spread.tolist() == [[1, 1, 0], [0, 1, 0]]
    assert prediction(tilts={}).spread.shape == (0, 3)


def test_losses_and_costs_by_hand() -> None:
    """At the end of the front all go to 0.9: 0.81 of 1, 2 and 3, of 4.86 together, and 27 saved; a
    tilt of the trial's own counts, log 2 for the LiDAR.
    """
    values = {SAVED: 1.0, f"{TILT}camera": 0.7, f"{TILT}camera.view": -0.3}
    np.testing.assert_allclose(prediction().losses([values]), [[1 / 6, 2 / 6, 3 / 6]])
    own = prediction(own={"lidar": float(np.log(2))})
    np.testing.assert_allclose(own.losses([values]), [[1 / 6, 2 / 6, 6 / 6]])
    np.testing.assert_allclose(prediction().costs([values]), [13 / 40])
    half = values | {SAVED: 0.5}
    np.testing.assert_allclose(prediction().costs([half]), [(40 - 13.5) / 40], rtol=1e-9)


def test_same_allocation_by_other_tilts_is_one_trial() -> None:
    """At the end of the front a tilt changes nothing: that is one trial, and not tried twice."""
    values = {SAVED: 1.0, f"{TILT}camera": 0.7, f"{TILT}camera.view": -0.3, "fine_tune.lr": 1e-3}
    tilted = values | {f"{TILT}camera": -1.0}
    same = prediction().identity
    assert same(values) == same(tilted) != same(values | {"fine_tune.lr": 1e-4})
    assert same(values | {SAVED: 0.5}) != same(tilted | {SAVED: 0.5})
    space = {SAVED: (0.1, 1.0), f"{TILT}camera": (-2.0, 2.0), f"{TILT}camera.view": (-2.0, 2.0)}
    first = [{name: v[name] for name in space} for v in (values, tilted)]
    wide = prediction(saved=(SAVED, Range(low=0.1, high=1.0)))
    optimizer = Optimizer(
        space, {"mAP": "max", "GFLOPs": "min"}, first=first, prediction=wide, sampler="random"
    )
    requested = [optimizer.ask() for _ in range(2)]
    assert requested[0] is not None and requested[0].values == first[0]
    assert requested[1] is not None and requested[1].values[SAVED] != 1.0


def test_candidates_stay_in_their_ranges() -> None:
    """Tilts are cut at 2, shares are those of the front within 0.1 to 0.9, and from where a limit
    of 20 GFLOPs is kept.
    """
    found = prediction().candidates(np.array([5.0, 0.5]))
    assert {(v[f"{TILT}camera"], v[f"{TILT}camera.view"]) for v in found} == {(2.0, 0.5)}
    shares = [v[SAVED] for v in found]
    assert len(shares) > 5 and shares == sorted(shares)
    assert min(shares) >= 0.1 and max(shares) <= 0.9
    limited = prediction(most_cost=20.0).candidates(np.zeros(2))
    assert len(limited) > 2
    assert all(prediction().costs([v])[0] * 40 <= 20.0 + 1e-9 for v in limited)
    assert [v[SAVED] for v in prediction(most_cost=1.0).candidates(np.zeros(2))] == [0.9]


def test_shared_tilt_is_found() -> None:
    """Both camera stages lose e^1.5 as much as their scores say: one tilt tells it."""
    random = np.random.default_rng(0)
    spread = np.array([[1.0, 1.0, 0.0]])
    truth = LossCurve(np.array([0.0, 0.5, 0.0, 1.5]), spread)
    predicted = random.random((12, 3)) / 3
    model = recalibrated(predicted, truth.at(predicted), spread)
    assert len(model.mean) == TILTS + 1
    assert model.mean[TILTS] == pytest.approx(1.5, abs=0.2)


def test_search_learns_to_spare_the_camera() -> None:
    """Trials that lose the camera lose e^2 as much: later proposals tilt towards it."""
    one = prediction(tilts={"camera": (f"{TILT}camera", Range(low=-3.0, high=3.0))})
    space = {SAVED: Range(low=0.1, high=0.9), f"{TILT}camera": Range(low=-3.0, high=3.0)}
    optimizer = Optimizer(space, {"mAP": "max", "GFLOPs": "min"}, prediction=one)
    tilts = []
    for _ in range(12):
        requested = optimizer.ask()
        assert requested is not None
        values: Any = requested.values
        tilts.append(values[f"{TILT}camera"])
        loss = one.losses([values])[0] @ [np.exp(2), np.exp(2), 1.0]
        cost = float(one.costs([values])[0] * 40)
        optimizer.tell(requested.trial_id, {"mAP": 0.7 * float(np.exp(-loss)), "GFLOPs": cost})
    assert np.mean(tilts[6:]) > 1.0
    agreed = optimizer.agreement()["mAP"]
    assert agreed.recalibrated > 0.9


def test_limit_of_the_cost_is_kept_by_proposals() -> None:
    tried = [{SAVED: 0.8, f"{TILT}camera": 0.0, f"{TILT}camera.view": 0.0}]
    limited = prediction(most_cost=25.0)
    for seed in range(5):
        found = propose(
            limited, tried, {"mAP": [0.5], "GFLOPs": [18.4]}, [], np.random.default_rng(seed)
        )
        assert limited.costs([found])[0] * 40 <= 25.0 + 1e-9


def sweep_of(sweep_data: dict[str, Any], **fields: Any) -> dict[str, Any]:
    trial = {**sweep_data["trial"], "trade_off": {"saved": 0.5}}
    tilt = {"low": -1.0, "high": 1.0}
    space = {SAVED: {"low": 0.2, "high": 0.9}, f"{TILT}camera": tilt, f"{TILT}lidar": tilt}
    return {**sweep_data, "trial": trial, "space": space, **fields}


def test_predicted_cost_is_that_of_the_trials(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """Predicted GFLOPs are those of its trials, tilted or not."""
    data = sweep_of(sweep_data, sampler="predicted", objectives=["mAP", "GFLOPs"])
    sweep = read_sweep(write_yaml(data))
    shared = prepare_all(scored_specs(sweep), [])
    found = prediction_of(sweep, shared)
    for tilts in ([0.0, 0.0], [0.8, -0.5]):
        candidates = found.candidates(np.array(tilts))
        for values in (candidates[0], candidates[len(candidates) // 2]):
            metrics = TrialRun(with_values(sweep.trial, values), shared).costs()
            predicted = found.costs([values])[0] * found.worst["GFLOPs"]
            assert predicted == pytest.approx(metrics["GFLOPs"], rel=2e-3)


@pytest.mark.parametrize("field", ["trade_off.most", f"{TILT}camera"])
def test_choices_of_a_trade_off_are_not_predicted(
    sweep_data: dict[str, Any], write_yaml: Any, field: str
) -> None:
    space = {SAVED: {"low": 0.2, "high": 0.9}, field: {"choices": [0.5, 0.8]}}
    assert not predicts(read_sweep(write_yaml(sweep_of(sweep_data, space=space))))
    assert predicts(read_sweep(write_yaml(sweep_of(sweep_data))))


def test_predicted_by_is_refused_where_a_trade_off_is_searched(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    data = sweep_of(sweep_data, predicted_by={"name": "magnitude"})
    with pytest.raises(InputError, match=r"predicted_by: given where a trade_off is searched"):
        read_sweep(write_yaml(data))


def test_prediction_that_is_not_followed_is_still_compared(tmp_path: Path) -> None:
    """Where another sampler proposes, the prediction is still held against what was measured."""
    space = {SAVED: Range(low=0.1, high=0.9), f"{TILT}camera": Range(low=-3.0, high=3.0)}
    optimizer = Optimizer(space, {"mAP": "max", "GFLOPs": "min"}, sampler="random")
    one = prediction(tilts={"camera": (f"{TILT}camera", Range(low=-3.0, high=3.0))})
    optimizer.guide(one, follows=False)
    for _ in range(6):
        requested = optimizer.ask()
        assert requested is not None
        values: Any = requested.values
        loss = float(one.losses([values]).sum())
        optimizer.tell(requested.trial_id, {"mAP": 1 - loss, "GFLOPs": 10.0})
        assert values not in one.candidates(np.array([values[f"{TILT}camera"]]))
    assert optimizer.agreement()["mAP"].scores == pytest.approx(1.0)


@pytest.mark.long
def test_sweep_over_trade_offs_keeps_its_limit(
    map_sweep: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    """Every trial within the limit of GFLOPs; prediction and measurement are compared."""
    spec = read_sweep(write_yaml(map_sweep)).trial
    dense = run_trial(replace(spec, allocation=SparsityAllocation())).result.metrics["GFLOPs"]
    data = sweep_of(
        map_sweep, sampler="predicted", objectives=["mIoU", "GFLOPs"], trials=5, workers=2,
        constraints={"GFLOPs": {"max": 0.7 * dense}},
    )  # fmt: skip
    file, out = write_yaml(data), tmp_path / "runs"
    assert main(["sweep", str(file), "--name", "one", "--runs", str(out)]) == 0
    view = read_view("one", out)
    assert len(view.trials) == 5 and view.count("stopped") == 0
    assert all(t.result.metrics["GFLOPs"] <= 0.7 * dense for t in view.trials)
    assert list(view.agreement) == ["mIoU"]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({SAVED: {"choices": [0.2, 0.5]}}, "space.trade_off.saved: choices with a prediction"),
        (
            {SAVED: {"low": 0.1, "high": 0.9}, "trade_off.most": {"low": 0.8, "high": 0.9}},
            "space.trade_off.most: searched with a prediction",
        ),
    ],
)
def test_spaces_that_cannot_be_predicted_are_refused(
    sweep_data: dict[str, Any], write_yaml: Any, space: dict[str, Any], said: str
) -> None:
    data = sweep_of(sweep_data, sampler="predicted", objectives=["mAP", "GFLOPs"], space=space)
    with pytest.raises(InputError, match=said):
        read_sweep(write_yaml(data))
