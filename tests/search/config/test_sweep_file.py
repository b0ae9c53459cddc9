"""Sweep files are read strictly, and what is wrong is named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsefront.errors import InputError
from sparsefront.search.config.sweep_file import read_sweep, set_fields
from sparsefront.search.config.trial_spec import spec_from_dict
from sparsefront.search.driver.checks import check_inputs


def _set(data: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = value


def test_valid_file_reads_back(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep = read_sweep(write_yaml(sweep_data))
    assert sweep.objectives == ["mAP", "NDS", "GFLOPs"]
    assert sweep.trial.allocation.per_modality["camera"] == 0.5
    assert spec_from_dict(sweep.trial.to_dict()) == sweep.trial
    check_inputs(sweep)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["trails"], 3, ["trails", "did you mean trials?"]),
        (["trial", "sed"], 3, ["trial.sed", "did you mean seed?"]),
        (["trial", "fine_tune", "step"], 3, ["trial.fine_tune.step", "did you mean steps?"]),
        (["trial", "model", "neck_chanels"], 3, ["trial.model.neck_chanels", "neck_channels"]),
        (["space", "allocation.per_modality.camera", "hihg"], 1, ["hihg", "did you mean high?"]),
        (["trial", "criterion", "name"], "magnitud", ["criterion.name", "magnitude", "snip"]),
        (["trial", "criterion"], {"alpha": 1.0}, ["criterion.name", "missing", "altermoma"]),
        (["trial", "fine_tune", "steps"], "many", ["trial.fine_tune.steps", "many"]),
        (["trial", "fine_tune", "steps"], -1, ["trial.fine_tune", "steps", "-1", "0 and above"]),
        (["trial", "allocation", "per_modality", "camera"], 1.2, ["per_modality.camera", "1.2"]),
        (["trial", "allocation", "rule"], "globl", ["trial.allocation.rule", "globl", "global"]),
        (["space", "allocation.per_modality.camera", "high"], 1.2, ["per_modality.camera", "1.2"]),
        (["space", "alocation.per_modality.camera"], {"choices": [0.1]}, ["alocation", "mean"]),
        (["space", "allocation.per_modality.camera", "low"], "a", ["camera.low", "'a'", "number"]),
        (["trial", "criterion"], {"name": "altermoma", "alpha": "a"}, ["criterion.alpha", "'a'"]),
        (["objectives"], ["mAP", "FLOPS"], ["objectives", "FLOPS"]),
        (["sampler"], "cma", ["sampler", "cma", "nsga2"]),
        (["trials"], 0, ["trials", "0", "1 and above"]),
        (["name"], "../x", ["name", "../x"]),
    ],
)
def test_wrong_value_is_named_in_one_line(
    sweep_data: dict[str, Any], write_yaml: Any, path: list[str], value: object, named: list[str]
) -> None:
    _set(sweep_data, path, value)
    file = write_yaml(sweep_data)
    with pytest.raises(InputError) as caught:
        read_sweep(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    assert all(part in message for part in named), message


def test_missing_field_is_named(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    del sweep_data["trial"]["val"]
    with pytest.raises(InputError, match=r"field trial\.val: missing"):
        read_sweep(write_yaml(sweep_data))


def test_key_given_twice_and_scientific_numbers(tmp_path: Path) -> None:
    from sparsefront.search.config.strict_yaml import parse_value, read_yaml

    assert parse_value("1e-3") == 1e-3
    twice = tmp_path / "twice.yaml"
    twice.write_text("a: 1\na: 2\n")
    with pytest.raises(InputError, match="given twice"):
        read_yaml(twice)


def test_environment_variables_are_expanded(
    sweep_data: dict[str, Any], write_yaml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sweep_data["trial"]["val"]["root"]
    monkeypatch.setenv("TINY_DATA", root)
    sweep_data["trial"]["val"]["root"] = "$TINY_DATA"
    assert read_sweep(write_yaml(sweep_data)).trial.val.root == root


def test_variables_of_uris_stay_as_they_are_written(
    sweep_data: dict[str, Any], write_yaml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_PASSWORD", "secret")
    monkeypatch.setenv("SPLIT", "procedural_val")
    sweep_data["trial"]["val"]["split"] = "$SPLIT"
    sweep_data["storage"] = "postgresql://me:$STUDY_PASSWORD@db/x"
    sweep_data["tracking_uri"] = "http://me:${STUDY_PASSWORD}@mlflow:5000"
    sweep = read_sweep(write_yaml(sweep_data))
    assert sweep.storage == sweep_data["storage"]
    assert sweep.tracking_uri == sweep_data["tracking_uri"]
    assert sweep.trial.val.split == "procedural_val"


def test_set_fields_replaces_dotted_fields(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    trial = read_sweep(write_yaml(sweep_data)).trial
    changed = set_fields(trial, ["fine_tune.lr=1e-4", "seed=7"])
    assert (changed.fine_tune.lr, changed.seed) == (1e-4, 7)
    with pytest.raises(InputError, match="field=value"):
        set_fields(trial, ["seed"])


@pytest.mark.parametrize("level", ["per_modality", "per_stage", "per_layer"])
def test_allocation_of_an_unknown_name_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any, level: str
) -> None:
    sweep_data["trial"]["allocation"][level] = {"radar": 0.5}
    with pytest.raises(InputError, match=rf"allocation\.{level}\.radar"):
        check_inputs(read_sweep(write_yaml(sweep_data)))


def test_predicted_sampler_without_predictable_fields_is_refused(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["sampler"] = "predicted"
    sweep_data["trial"]["allocation"]["pattern"] = "channel"
    with pytest.raises(InputError, match=r"sampler: value 'predicted' with allocation\.pattern"):
        read_sweep(write_yaml(sweep_data))
    sweep_data["trial"]["allocation"]["pattern"] = "unstructured"
    sweep_data["space"] = {"seed": {"choices": [0, 1]}}
    with pytest.raises(
        InputError, match=r"sampler: value 'predicted' with no range of allocation\.per_"
    ):
        read_sweep(write_yaml(sweep_data))
