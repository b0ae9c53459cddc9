"""Fields of the space that stand for many."""

from __future__ import annotations

from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.grouping import weights_of
from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.driver.checks import read_checked
from sparsefront.search.driver.predictions import searched_groups

WIDE, NARROW = {"low": 0.0, "high": 0.9}, {"low": 0.0, "high": 0.5}


def test_star_becomes_a_field_for_every_stage(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """One field for each modality x stage; one given by name keeps its own range."""
    sweep_data["space"] = {
        "allocation.per_stage.*": WIDE, "allocation.per_stage.camera.neck": NARROW,
    }  # fmt: skip
    sweep = read_sweep(write_yaml(sweep_data))
    weights = weights_of(sweep.trial)
    stages = {".".join(n.split(".")[:2]) for names in weights.values() for n in names}
    assert set(sweep.space) == {f"allocation.per_stage.{stage}" for stage in stages}
    assert len(stages) > 4
    highs = {name: field.high for name, field in sweep.space.items()}  # type: ignore[union-attr]
    assert highs.pop("allocation.per_stage.camera.neck") == 0.5
    assert set(highs.values()) == {0.9}


def test_star_after_a_modality_takes_its_layers(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["space"] = {"allocation.per_layer.lidar.*": WIDE}
    sweep = read_sweep(write_yaml(sweep_data))
    names = [n.removeprefix("allocation.per_layer.") for n in sweep.space]
    assert tuple(names) == weights_of(sweep.trial)["lidar"]


def test_own_groups_are_searched_by_name(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """A user's groups are searched by name, and the predicted front knows their weights."""
    sweep_data["trial"]["allocation"] = {
        "groups": {
            "early": ["lidar.*", "camera.backbone.*"],
            "late": ["fusion.*"],
        }
    }
    sweep_data["space"] = {"allocation.per_group.*": WIDE}
    sweep = read_sweep(write_yaml(sweep_data))
    assert list(sweep.space) == ["allocation.per_group.early", "allocation.per_group.late"]
    weights, groups = weights_of(sweep.trial), searched_groups(sweep)
    assert groups["allocation.per_group.late"] == weights["fusion"]
    early = groups["allocation.per_group.early"]
    assert early and {name.split(".")[0] for name in early} == {"camera", "lidar"}


def test_unknown_own_group_is_refused(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["trial"]["allocation"] = {"groups": {"early": ["camera.backbone.*"]}}
    sweep_data["space"] = {"allocation.per_group.late": WIDE}
    with pytest.raises(InputError, match=r"per_group\.late: no group of that name; allowed: early"):
        read_sweep(write_yaml(sweep_data))


def test_sparsity_of_the_trial_is_no_searched_field(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """Searched fields are told from the trial's own sparsities, whatever these are."""
    sweep_data["trial"]["allocation"] = {
        "per_modality": {"fusion": 0.5},
        "groups": {"early": ["camera.*"], "late": ["lidar.*"]},
        "per_group": {"early": 0.25},
    }
    sweep_data["space"] = {"allocation.per_group.*": WIDE}
    sweep = read_sweep(write_yaml(sweep_data))
    weights = weights_of(sweep.trial)
    assert searched_groups(sweep) == {
        "allocation.per_group.early": weights["camera"],
        "allocation.per_group.late": weights["lidar"],
    }


def test_fields_without_weights_are_left_out_or_refused(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """A group has all of the camera: a `*` leaves its stages out, given by name they are wrong."""
    sweep_data["trial"]["allocation"] = {"groups": {"all": ["camera.*"]}}
    sweep_data["space"] = {"allocation.per_group.all": WIDE, "allocation.per_stage.*": WIDE}
    sweep = read_sweep(write_yaml(sweep_data))
    stages = [name for name in sweep.space if name.startswith("allocation.per_stage.")]
    assert stages and not any("camera" in name for name in stages)
    sweep_data["space"]["allocation.per_stage.camera.neck"] = WIDE
    with pytest.raises(InputError, match=r"space\.allocation\.per_stage\.camera\.neck: says"):
        read_checked(write_yaml(sweep_data))


def test_star_that_fits_nothing_is_refused(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["space"] = {"allocation.per_stage.radar.*": WIDE}
    with pytest.raises(InputError, match=r"sweep.yaml: space.allocation.per_stage.radar.\*: fits"):
        read_sweep(write_yaml(sweep_data))
