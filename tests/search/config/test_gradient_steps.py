"""Fields of gradient steps: the warm-up as a share, when batch norms move, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.gradient_steps import GradientStepsSpec
from sparsefront.search.config.trial_spec import FineTuneSpec


def spec(**fields: Any) -> GradientStepsSpec:
    given = {"batch_size": 2, "lr": 0.1, "schedule": "cosine", "warmup": 0, "clip": 1.0, **fields}
    return GradientStepsSpec(**given)


@pytest.mark.parametrize(
    ("warmup", "share"), [(0, 0.0), (0.3, 0.3), (0.999, 0.999), (1, 0.05), (5, 0.25), (20, 1.0)]
)
def test_warmup_is_steps_or_below_one_a_share_of_them(warmup: float, share: float) -> None:
    assert spec(warmup=warmup).warmup_share(20) == share


@pytest.mark.parametrize(
    ("batch_norm", "moves"),
    [
        ("train", [True, True, True, True]),
        ("eval", [False, False, False, False]),
        (0.0, [False, False, False, False]),
        (0.5, [True, True, False, False]),
        (0.6, [True, True, True, False]),
        (1.0, [True, True, True, True]),
    ],
)
def test_norms_move_for_their_share_of_the_steps(batch_norm: Any, moves: list[bool]) -> None:
    given = spec(batch_norm=batch_norm)
    assert [given.norms_move(step, 4) for step in range(4)] == moves


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "batch_size: value 0; allowed: 1 and above"),
        ({"lr": -0.1}, r"lr: value -0\.1; allowed: 0 and above"),
        ({"weight_decay": -1.0}, r"weight_decay: value -1\.0; allowed: 0 and above"),
        ({"warmup": -1}, "warmup: value -1; allowed: 0 and above"),
        ({"clip": 0.0}, r"clip: value 0\.0; allowed: above 0"),
        ({"ema": 1.0}, r"ema: value 1\.0; allowed: 0 <= x < 1"),
        ({"ema": -0.1}, r"ema: value -0\.1; allowed: 0 <= x < 1"),
        ({"batch_norm": 1.5}, r"batch_norm: value 1\.5; allowed: train, eval, 0 to 1"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spec(**fields)


def test_wrong_fields_of_fine_tuning_are_refused() -> None:
    for fields in ({"ema": 1.0}, {"ema": -0.1}, {"distill_heads": -1.0}):
        with pytest.raises(InputError, match="allowed"):
            FineTuneSpec(**fields)  # type: ignore[arg-type]
