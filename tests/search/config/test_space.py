"""Sampled values go into the spec at the right place, or are refused."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config import space
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


def test_values_replace_only_their_fields(spec: TrialSpec) -> None:
    changed = space.with_values(
        spec,
        {
            "allocation.per_stage.camera.backbone": 0.7,
            "allocation.per_modality.lidar": 0.1,
            "fine_tune.steps": 9,
        },
    )
    assert changed.allocation.per_stage == {"camera.backbone": 0.7}
    assert changed.allocation.per_modality == {**spec.allocation.per_modality, "lidar": 0.1}
    assert changed.fine_tune.steps == 9
    assert changed.model == spec.model
    assert spec.allocation.per_stage == {}


def test_field_of_a_criterion_is_replaced(spec: TrialSpec) -> None:
    spec = space.with_values(spec, {"criterion": {"name": "altermoma"}})
    changed = space.with_values(spec, {"criterion.alpha": 0.25})
    assert changed.criterion.alpha == 0.25


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alocation.per_modality.camera", 0.5, "did you mean allocation"),
        ("fine_tune.stps", 3, "did you mean steps"),
        ("seed.x", 3, "nothing below"),
        ("fine_tune.steps", "a", r"fine_tune\.steps"),
        ("allocation.per_modality.camera", 1.0, "0 <= x < 1"),
    ],
)
def test_wrong_values_are_refused(spec: TrialSpec, name: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        space.with_values(spec, {name: value})


def test_only_ranges_of_whole_number_fields_are_integer(spec: TrialSpec) -> None:
    assert space.is_integer(spec, "fine_tune.steps", space.Range(low=1, high=5))
    assert not space.is_integer(spec, "fine_tune.lr", space.Range(low=1, high=5))
    assert not space.is_integer(
        spec, "allocation.per_stage.fusion.head", space.Range(low=0, high=0.9)
    )


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True)])
def test_empty_ranges_are_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(InputError):
        space.Range(low=low, high=high, log=log)
