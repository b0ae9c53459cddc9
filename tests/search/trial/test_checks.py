"""Whether a trial can run, told before it does."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.pruning.allocation import SparsityAllocation
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial.checks import check_trial


@pytest.fixture
def spec(sweep_data: dict[str, Any], write_yaml: Any) -> TrialSpec:
    return read_sweep(write_yaml(sweep_data)).trial


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
def test_allocation_that_does_not_fit_is_refused(
    spec: TrialSpec, fields: dict[str, Any], named: str
) -> None:
    spec = replace(spec, allocation=SparsityAllocation(**fields))
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        check_trial(spec)
    assert str(caught.value).startswith("field trial.allocation.")
