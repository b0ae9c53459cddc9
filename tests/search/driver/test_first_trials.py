"""What a sweep tries before any proposal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefront.errors import InputError
from sparsefront.models import build
from sparsefront.search.config.space import Value
from sparsefront.search.config.sweep_file import Sweep, check_first, read_sweep
from sparsefront.search.driver.first_trials import prepare_search
from sparsefront.search.driver.predictions import prediction_of, searched_groups
from sparsefront.search.driver.sweep import scored_specs
from sparsefront.search.optimizer.for_sweep import optimizer_of
from sparsefront.search.trial.shared import Shared, prepare_all

MODALITIES = ("camera", "lidar", "fusion")
SPACE = {f"allocation.per_modality.{name}": {"low": 0.0, "high": 0.99} for name in MODALITIES}


@pytest.fixture
def read(sweep_data: dict[str, Any], write_yaml: Any) -> Any:
    def read_with(**fields: Any) -> Sweep:
        return read_sweep(write_yaml({**sweep_data, "space": SPACE, "trials": 16, **fields}))

    return read_with


def first_values(sweep: Sweep, shared: Shared, storage: Path, count: int) -> list[dict[str, Value]]:
    optimizer = optimizer_of(sweep, storage)
    prepare_search(sweep, optimizer, shared)
    proposals = [optimizer.ask() for _ in range(count)]
    return [dict(proposal.values) for proposal in proposals if proposal is not None]


def share_gone(sweep: Sweep, values: dict[str, Value]) -> float:
    """Sparsity of all prunable weights together."""
    sizes = {name: p.numel() for name, p in build(sweep.trial.model).named_parameters()}
    groups = {k: sum(sizes[w] for w in ws) for k, ws in searched_groups(sweep).items()}
    gone = sum(float(values[k]) * n for k, n in groups.items())  # type: ignore[arg-type]
    return gone / sum(groups.values())


@pytest.mark.parametrize(
    ("kind", "totals"), [("papers", (0.8, 0.85, 0.9)), ("erk", (0.5, 0.7, 0.85))]
)
def test_totals_of_erk_and_papers_are_of_the_whole_model(
    read: Any, tmp_path: Path, kind: str, totals: tuple[float, ...]
) -> None:
    """Their sparsities are of all modalities together, by the papers not the same in each."""
    sweep = read(first=[kind])
    found = first_values(sweep, prepare_all(scored_specs(sweep), []), tmp_path / "log", 3)
    for values, total in zip(found, totals, strict=True):
        assert share_gone(sweep, values) == pytest.approx(total, abs=0.005)
        assert len({round(float(v), 3) for v in values.values()}) == 3  # type: ignore[arg-type]


def test_predicted_first_trials_run_along_the_front(read: Any, tmp_path: Path) -> None:
    """By any sampler: evenly in MACs, from the least pruned to the most."""
    sweep = read(first=["predicted"], sampler="gp")
    shared = prepare_all(scored_specs(sweep), [])
    found = first_values(sweep, shared, tmp_path / "log", 4)
    expected = prediction_of(sweep, shared).first(4)
    assert found == expected and list(found[0].values()) == [0.0, 0.0, 0.0]
    macs = [-prediction_of(sweep, shared).costs([values])[0] for values in expected]
    np.testing.assert_allclose(np.diff(macs), np.diff(macs).mean(), rtol=0.2)


def test_first_trade_offs_save_more_and_more(
    sweep_data: dict[str, Any], read: Any, tmp_path: Path
) -> None:
    """The default where one is searched: the scores are believed, each saves more than the last."""
    space = {
        "trade_off.saved": {"low": 0.2, "high": 0.8},
        "trade_off.tilt.camera": {"low": -1.0, "high": 1.0},
        "trade_off.tilt.lidar": {"low": 0.5, "high": 1.0},
    }
    sweep_data["trial"]["trade_off"] = {"saved": 0.5}
    sweep = read(space=space)
    found = first_values(sweep, prepare_all(scored_specs(sweep), []), tmp_path / "log", 4)
    assert [v["trade_off.saved"] for v in found] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert {(v["trade_off.tilt.camera"], v["trade_off.tilt.lidar"]) for v in found} == {(0.0, 0.5)}


@pytest.mark.parametrize("first", ["uniform", "erk", "papers"])
def test_first_allocations_without_ranges_of_sparsities_are_refused(
    read: Any, sweep_data: dict[str, Any], first: str
) -> None:
    """They would run as something else under their name."""
    lr = read(space={"fine_tune.lr": {"low": 1e-4, "high": 1e-3}}, first=[first])
    with pytest.raises(InputError, match=rf"first: value '{first}' with no range of alloc.*: \[\]"):
        check_first(lr)
    trial = {**sweep_data["trial"], "trade_off": {"saved": 0.5}}
    saved = {"trade_off.saved": {"low": 0.0, "high": 1.0}}
    trade_off = read(space=saved, first=[first], trial=trial)
    with pytest.raises(InputError, match=f"'{first}' with no range of .* allowed here: predicted"):
        check_first(trade_off)


def test_predicted_sampler_without_ranges_is_refused(read: Any) -> None:
    space = {"allocation.per_modality.camera": {"choices": [0.1, 0.5]}}
    with pytest.raises(InputError, match="sampler: value 'predicted' with no range of allocation"):
        read(space=space, sampler="predicted")


def test_predicted_first_trials_without_sparsities_are_refused(read: Any) -> None:
    space = {"fine_tune.lr": {"low": 1e-4, "high": 1e-3}}
    with pytest.raises(InputError, match="first: value 'predicted' with no range of alloc"):
        read(space=space, first=["predicted"])
