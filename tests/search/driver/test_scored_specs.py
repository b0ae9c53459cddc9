"""Which statistics are computed before the first trial."""

from __future__ import annotations

from typing import Any

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.sweep import scored_specs
from sparsefront.search.trial.score_cache import key_of

FUSERS = {"choices": ["concat", "gated"]}
CRITERIA = {"choices": [{"name": "magnitude"}, {"name": "fisher"}]}


def specs(sweep_data: dict[str, Any], write_yaml: Any, space: dict[str, Any]) -> list[Any]:
    return scored_specs(read_sweep(write_yaml({**sweep_data, "space": space})))


def test_pairs_of_choices(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """Each criterion on each model, as any of the four may be proposed."""
    found = specs(sweep_data, write_yaml, {"model.fuser": FUSERS, "criterion": CRITERIA})
    pairs = {(s.model.fuser, s.criterion.name) for s in found}
    assert pairs == {(f, c) for f in ("concat", "gated") for c in ("magnitude", "fisher")}
    assert len({key_of(s) for s in found}) == 4


def test_choices_alone_where_there_are_too_many(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    steps = {"choices": list(range(40))}
    found = specs(sweep_data, write_yaml, {"model.fuser": FUSERS, "fine_tune.steps": steps})
    assert len(found) == 2 + 40


def test_no_choice_at_all(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    space = {"allocation.per_modality.camera": {"low": 0.0, "high": 0.9}}
    assert len(specs(sweep_data, write_yaml, space)) == 1
